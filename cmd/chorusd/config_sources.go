package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// envPrefix starts every variable of ours, so one that starts so and names no
// setting is a mistake.
const envPrefix = "CHORUSD_"

// loader reads the layers of a configuration and gathers what is wrong.
type loader struct {
	path    string
	keys    []configKey
	origins origins
	// refused holds the keys with a problem already, whose value is not
	// looked at again.
	refused  map[string]bool
	problems problems
	// secretFiles are the files that secrets came from, by key.
	secretFiles map[string]string
}

func (l *loader) refuse(key string, at origin, format string, args ...any) {
	l.refused[key] = true
	l.problems.add(at, format, args...)
}

func (l *loader) key(name string) (configKey, bool) {
	for _, key := range l.keys {
		if key.name == name {
			return key, true
		}
	}
	return configKey{}, false
}

func (l *loader) defaults() map[string]any {
	values := make(map[string]any, len(l.keys))
	for _, key := range l.keys {
		values[key.name] = key.def
	}
	return values
}

// readFile is the file's layer, and the rules, which no other layer has.
// readable is false where the file could not be read at all.
func (l *loader) readFile() (layer koanf.Provider, rules rules, readable bool) {
	values := map[string]any{}
	content, err := os.ReadFile(l.path)
	if err != nil {
		l.problems.add(l.origins.at(""), "cannot be read: %v; name the file with --config, config.toml.example is one to start from", cause(err))
		return confmap.Provider(values, "."), rules, false
	}
	document, positions, syntax := parseTOML(l.path, content)
	if syntax != nil {
		l.problems = append(l.problems, *syntax)
		return confmap.Provider(values, "."), rules, false
	}
	maps.Copy(l.origins, positions)

	sections := l.sections()
	for _, name := range sortedKeys(document) {
		raw := document[name]
		fields, isSection := raw.(map[string]any)
		switch {
		case rules.has(name):
			l.rules(&rules, name, raw)
		case sections[name] && isSection:
			for _, field := range sortedKeys(fields) {
				l.fileValue(values, name, field, fields[field])
			}
		case sections[name]:
			l.problems.add(l.origins.at(name), "%s is %s where a section belongs; write [%s] on a line of its own", name, describe(raw), name)
		default:
			l.fileValue(values, "", name, raw)
		}
	}
	return confmap.Provider(values, "."), rules, true
}

// sections is the set of the sections of scalar settings.
func (l *loader) sections() map[string]bool {
	sections := map[string]bool{}
	for _, key := range l.keys {
		if section := parentKey(key.name); section != "" {
			sections[section] = true
		}
	}
	return sections
}

// fileValue takes one value of the file, which stands in section or, where
// that is empty, at the top.
func (l *loader) fileValue(values map[string]any, section, name string, raw any) {
	path := joinKey(name)
	if section != "" {
		path = joinKey(section, name)
	}
	key, ok := l.key(path)
	if !ok {
		l.unknownKey(path, raw)
		return
	}
	value, err := fromTOML(path, raw, key.typ)
	if err != nil {
		l.refuse(path, l.origins.at(path), "%v; write for example %s", err, key.example())
		return
	}
	values[path] = value
}

// unknownKey reports a key or section of the file that means nothing, with
// what may have been meant, or else what there is in its place.
func (l *loader) unknownKey(path string, raw any) {
	section, name := splitKey(path)
	if _, ok := raw.(map[string]any); ok && section == "" {
		names := append(sortedKeys(l.sections()), ruleSections()...)
		slices.Sort(names)
		mend := "there are " + strings.Join(names, ", ")
		if near, ok := nearest(name, names); ok {
			mend = fmt.Sprintf("did you mean [%s]?", near)
		}
		l.problems.add(l.origins.at(path), "no such section: [%s]; %s", path, mend)
		return
	}

	// A top-level key may have lost its section, and one that was written
	// below a section belongs to that section, whatever its author thought.
	var siblings, all []string
	meant := map[string]string{}
	for _, key := range l.keys {
		s, last := splitKey(key.name)
		if s == section {
			siblings = append(siblings, last)
		}
		if section == "" || s == "" {
			all = append(all, last)
			meant[last] = key.name
		}
	}
	for _, sibling := range siblings {
		meant[sibling] = strings.TrimPrefix(section+"."+sibling, ".")
	}
	mend := "there are " + strings.Join(siblings, ", ")
	if near, ok := nearest(name, siblings); ok {
		mend = "did you mean " + meant[near] + "?"
	} else if near, ok := nearest(name, all); ok {
		mend = "did you mean " + meant[near] + "?"
		if section != "" {
			mend += " It stands above the first section"
		}
	}
	l.problems.add(l.origins.at(path), "no such key: %s; %s", path, mend)
}

// environment is the layer of the variables CHORUSD_<SECTION>_<KEY>, and of
// those with _FILE behind, which name a file that holds the value.
func (l *loader) environment(environ []string) koanf.Provider {
	byVariable := map[string]configKey{}
	variables := make([]string, len(l.keys))
	for i, key := range l.keys {
		variables[i] = key.variable()
		byVariable[key.variable()] = key
	}
	given := map[string]bool{}
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		given[name] = true
	}

	take := func(variable, text string) (string, any) {
		at := origin{source: sourceEnvironment, name: variable}
		name, inFile := strings.CutSuffix(variable, "_FILE")
		key, ok := byVariable[name]
		switch {
		case !ok && ruleOf(variable) != "":
			l.problems.add(at, "%s are set in the file alone; move it there and unset the variable", ruleOf(variable))
			return "", nil
		case !ok:
			mend := "unset it"
			if near, ok := nearest(name, variables); ok {
				mend = "did you mean " + near + "?"
			}
			l.problems.add(at, "no such setting; %s", mend)
			return "", nil
		case inFile && given[name]:
			l.refuse(key.name, at, "%s is set too; unset one of the two", name)
			return "", nil
		case inFile:
			path := text
			var err error
			if text, err = readValue(path); err != nil {
				l.refuse(key.name, at, "cannot read %q: %v; let it name a file that chorusd may read", path, cause(err))
				return "", nil
			}
			if key.secret() {
				if l.secretFiles == nil {
					l.secretFiles = map[string]string{}
				}
				l.secretFiles[key.name] = path
			}
		}
		return l.textValue(key, at, text)
	}
	return env.Provider(".", env.Opt{
		Prefix:        envPrefix,
		TransformFunc: take,
		EnvironFunc:   func() []string { return environ },
	})
}

// readValue reads a file that holds one value; a line break may end it.
func readValue(path string) (string, error) {
	content, err := os.ReadFile(path)
	return strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r"), err
}

// flags is the layer of the flags that were given.
func (l *loader) flags(flags *pflag.FlagSet) koanf.Provider {
	if flags == nil {
		return confmap.Provider(nil, ".")
	}
	take := func(flag *pflag.Flag) (string, any) {
		key, ok := l.key(flag.Name)
		if !ok || !flag.Changed {
			return "", nil
		}
		return l.textValue(key, origin{source: sourceFlag, name: "--" + flag.Name}, flag.Value.String())
	}
	return posflag.ProviderWithFlag(flags, ".", nil, take)
}

// textValue reads a value given as text. It gives the key and the value, or an
// empty key, which the providers leave out, if the text does not fit.
func (l *loader) textValue(key configKey, at origin, text string) (string, any) {
	value, err := fromText(key.name, text, key.typ)
	if err != nil {
		l.refuse(key.name, at, "%v; the default is %s", err, tomlValue(key.def))
		return "", nil
	}
	l.origins[key.name] = at
	return key.name, value
}

// cause is the plain reason of a failed file operation, without the operation
// and the path that the message around it names.
func cause(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}
