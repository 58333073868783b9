package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/chorusd/chorusd/mapping"
)

// rules are the sections that say who sees what. They come from the file
// alone: a mapping belongs under review.
type rules struct {
	// Tables by the name that clients use.
	Tables map[string]mapping.Table `koanf:"tables"`
	// Users is where attributes of users come from.
	Users mapping.Users `koanf:"users"`
	// Scopes are the membership scopes by name.
	Scopes map[string]mapping.Scope `koanf:"scopes"`
}

// The rules' sections.
const (
	tablesKey = "tables"
	usersKey  = "users"
	scopesKey = "scopes"
)

func ruleSections() []string { return []string{tablesKey, usersKey, scopesKey} }

// has tells whether a section of the file is one of the rules.
func (r *rules) has(section string) bool {
	_, ok := tagged(reflect.TypeFor[rules]())[section]
	return ok
}

// ruleOf is the section that a variable may have been meant for, or "".
func ruleOf(variable string) string {
	for _, section := range ruleSections() {
		if strings.HasPrefix(variable, envPrefix+strings.ToUpper(section)) {
			return section
		}
	}
	return ""
}

// tagged maps the keys of a section to the indexes of its struct's fields.
func tagged(section reflect.Type) map[string]int {
	fields := map[string]int{}
	for i := range section.NumField() {
		if tag, ok := section.Field(i).Tag.Lookup("koanf"); ok {
			fields[tag] = i
		}
	}
	return fields
}

// rules decodes a section of the rules.
func (l *loader) rules(r *rules, name string, raw any) {
	target := reflect.ValueOf(r).Elem()
	l.rule(name, raw, target.Field(tagged(target.Type())[name]))
}

// rule decodes what stands at key into target: a struct, sections of structs
// by name, a list of structs, or a plain value.
func (l *loader) rule(key string, raw any, target reflect.Value) {
	switch typ := target.Type(); {
	case typ.Kind() == reflect.Struct:
		if section, ok := l.section(key, raw, key); ok {
			l.ruleFields(key, section, target)
		}
	case typ.Kind() == reflect.Map && typ.Elem().Kind() == reflect.Struct:
		sections, ok := l.section(key, raw, key+".NAME")
		if !ok {
			return
		}
		target.Set(reflect.MakeMap(typ))
		for _, name := range sortedKeys(sections) {
			element, path := reflect.New(typ.Elem()).Elem(), key+"."+joinKey(name)
			l.rule(path, sections[name], element)
			if !l.refused[path] {
				target.SetMapIndex(reflect.ValueOf(name), element)
			}
		}
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct:
		list, ok := raw.([]any)
		if !ok {
			l.refuse(key, l.origins.at(key), "%s is %s where a list of sections belongs; write [[%s]] on a line of its own", key, describe(raw), key)
			return
		}
		target.Set(reflect.MakeSlice(typ, len(list), len(list)))
		for i, element := range list {
			l.rule(indexed(key, i), element, target.Index(i))
		}
	default:
		value, err := fromTOML(key, raw, typ)
		if err != nil {
			_, last := splitKey(key)
			l.refuse(key, l.origins.at(key), "%v; write for example %s", err, ruleExample(last, typ))
			return
		}
		target.Set(reflect.ValueOf(value))
	}
}

// section takes what should be a section; example is how one is written.
func (l *loader) section(key string, raw any, example string) (map[string]any, bool) {
	section, ok := raw.(map[string]any)
	if !ok {
		l.refuse(key, l.origins.at(key), "%s is %s where a section belongs; write [%s] on a line of its own", key, describe(raw), example)
	}
	return section, ok
}

// ruleFields decodes the keys of one section.
func (l *loader) ruleFields(path string, section map[string]any, target reflect.Value) {
	known := tagged(target.Type())
	for _, field := range sortedKeys(section) {
		key := path + "." + joinKey(field)
		index, ok := known[field]
		if !ok {
			mend := "there are " + strings.Join(sortedKeys(known), ", ")
			if near, ok := nearest(field, sortedKeys(known)); ok {
				mend = "did you mean " + near + "?"
			}
			l.problems.add(l.origins.at(key), "no such key: %s; %s", key, mend)
			continue
		}
		l.rule(key, section[field], target.Field(index))
	}
}

// ruleExample is a line that sets a key of the rules.
func ruleExample(field string, typ reflect.Type) string {
	switch typ.Kind() {
	case reflect.Slice:
		return field + ` = ["…"]`
	case reflect.Map:
		return field + ` = { column = "…" }`
	default:
		return field + ` = "…"`
	}
}

// indexed is the key of an element of a list.
func indexed(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }
