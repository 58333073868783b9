package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chorusd/chorusd/mapping"
	"github.com/chorusd/chorusd/relay"
)

// explainPath is where the admin address answers explainCommand.
const explainPath = "/explain"

func explainCommand() *cobra.Command {
	var user, table, key string
	var asJSON bool
	cmd := configured("explain", "Tell why a user sees a row, or does not", func(cmd *cobra.Command, cfg Config) error {
		for flag, value := range map[string]string{"user": user, "table": table, "key": key} {
			if value == "" {
				return &exitError{exitUsage, fmt.Errorf("--%s is missing; write chorusd explain --user 7 --table messages --key 42", flag)}
			}
		}
		answer, err := askToExplain(cmd.Context(), cfg.Admin.Listen, table, key, user)
		if err != nil {
			return err
		}
		if asJSON {
			_, err := cmd.OutOrStdout().Write(answer)
			return err
		}
		var e relay.Explained
		if err := json.Unmarshal(answer, &e); err != nil {
			return fmt.Errorf("read the answer of the running chorusd, which may be another version: %w", err)
		}
		return printExplained(cmd.OutOrStdout(), &e)
	})
	cmd.Flags().StringVar(&user, "user", "", "the user's key, as it is in the name of the channel")
	cmd.Flags().StringVar(&table, "table", "", "the table as clients know it; of a tenant with the database behind an @, tasks@tenant_1")
	cmd.Flags().StringVar(&key, "key", "", `the record's key; of several columns a JSON array, '["a",2]'`)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the whole answer as JSON")
	return cmd
}

// explainPatience is how long the running chorusd may take to answer.
const explainPatience = 15 * time.Second

// askToExplain asks the chorusd that runs with this configuration.
func askToExplain(ctx context.Context, listen, table, key, user string) ([]byte, error) {
	if listen == "" {
		return nil, errors.New(`admin.listen is "", and explain asks the running chorusd there; set it, for example to "127.0.0.1:9187", and start chorusd again`)
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		panic(err) // loadConfig has checked it
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, explainPatience)
	defer cancel()
	query := url.Values{"table": {table}, "key": {key}, "user": {user}}
	address := url.URL{Scheme: "http", Host: net.JoinHostPort(host, port), Path: explainPath, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	direct := &http.Transport{DisableKeepAlives: true} // and no proxy: it is this machine
	resp, err := direct.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask the running chorusd at admin.listen: %w; see that it runs, with the same configuration", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("ask the running chorusd at admin.listen: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(string(answer)))
	}
	return answer, nil
}

// explainHandler answers askToExplain. It tells of rows and of who may see
// them, and so only to this machine, whatever admin.listen is.
func explainHandler(explain func(ctx context.Context, table, key, user string) (relay.Explained, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if host, _, err := net.SplitHostPort(req.RemoteAddr); err != nil || !net.ParseIP(host).IsLoopback() {
			http.Error(w, "this is told to the machine alone that chorusd runs on", http.StatusForbidden)
			return
		}
		ask := req.URL.Query()
		e, err := explain(req.Context(), ask.Get("table"), ask.Get("key"), ask.Get("user"))
		naming := (*relay.NamingError)(nil)
		switch {
		case errors.Is(err, relay.ErrNotMapped):
			http.Error(w, err.Error(), http.StatusNotFound)
		case errors.As(err, &naming):
			http.Error(w, err.Error(), http.StatusBadRequest)
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			writeJSON(w, http.StatusOK, e)
		}
	}
}

// headlines say in short what came out.
var headlines = map[mapping.Finding]string{
	mapping.Yes:         "user %s sees row %s of %s\n",
	mapping.No:          "user %s does not see row %s of %s\n",
	mapping.Untold:      "whether user %s sees row %s of %s cannot be told\n",
	mapping.UpToLaravel: "user %s sees row %s of %s if Laravel says so\n",
}

// printExplained writes an explanation for people.
func printExplained(out io.Writer, e *relay.Explained) error {
	var b strings.Builder
	if e.Explanation == nil {
		fmt.Fprintf(&b, "there is no row %s of %s\n", e.Key, e.Table)
	} else {
		fmt.Fprintf(&b, headlines[e.Explanation.Visible], e.User, e.Key, e.Table)
	}
	if e.Connected {
		fmt.Fprintf(&b, "the user is connected by %s\n", strings.Join(e.Channels, ", "))
	} else {
		fmt.Fprintln(&b, "the user is not connected, so nothing is sent to him now")
	}
	if x := e.Explanation; x != nil {
		printAlternatives(&b, x.Alternatives)
		if x.Where != nil {
			fmt.Fprint(&b, "\nwhere\n")
			printLine(&b, "  ", string(x.Where.Holds), condition(x.Where))
		}
		if p := x.Policy; p != nil {
			fmt.Fprint(&b, "\npolicy\n")
			printLine(&b, "  ", string(p.Holds), fmt.Sprintf("%s of %s: %s", p.Ability, p.Model, p.Why))
		}
		printFields(&b, x.Fields)
	}
	fmt.Fprintf(&b, "\nas of %s\n", e.Position)
	_, err := io.WriteString(out, b.String())
	return err
}

// printLine writes what was found, and of what.
func printLine(w io.Writer, indent, found, what string) {
	fmt.Fprintf(w, "%s%-7s  %s\n", indent, found, what)
}

func printAlternatives(w io.Writer, alternatives []mapping.AlternativeFinding) {
	fmt.Fprint(w, "\nvisible_to, any of\n")
	for _, a := range alternatives {
		indent := "  "
		if len(a.Entries) > 1 {
			printLine(w, indent, string(a.Holds), "all of")
			indent += strings.Repeat(" ", 9)
		}
		for _, entry := range a.Entries {
			what := entry.Entry + ": " + entry.Why
			if entry.Key != "" {
				what += " (" + entry.Key + ")"
			}
			printLine(w, indent, string(entry.Holds), what)
			if len(entry.Path) > 1 {
				printLine(w, indent, "", way(entry.Path))
			}
		}
	}
}

// way is a path in one line.
func way(path []mapping.HopFinding) string {
	hops := make([]string, len(path))
	for i, h := range path {
		hops[i] = strings.TrimSuffix(h.Table+h.Key+": "+values(h.Values), ": ")
	}
	return strings.Join(hops, " -> ")
}

func printFields(w io.Writer, fields []mapping.FieldFinding) {
	fmt.Fprint(w, "\nfields\n")
	var plain []string
	for _, f := range fields {
		if f.State == "shown" && f.By == nil {
			plain = append(plain, f.Field)
		}
	}
	if len(plain) > 0 {
		printLine(w, "  ", "shown", strings.Join(plain, ", "))
	}
	for _, f := range fields {
		switch {
		case slices.Contains(plain, f.Field):
		case f.By != nil:
			printLine(w, "  ", f.State, fmt.Sprintf("%s: %s, %s", f.Field, f.By.Holds, condition(f.By)))
		default:
			printLine(w, "  ", f.State, f.Field)
		}
	}
}

// condition is a condition and what it depends on, in one line.
func condition(c *mapping.ConditionFinding) string {
	text := strings.Join(strings.Fields(c.Text), " ")
	if len(c.Reads) > 0 {
		text += "; " + values(c.Reads)
	}
	if c.Turns != nil {
		text += "; until " + c.Turns.Format(time.RFC3339)
	}
	return text
}

// values are columns and attributes with what they hold.
func values(list []mapping.ValueFinding) string {
	texts := make([]string, len(list))
	for i, v := range list {
		value := string(v.Value)
		if value == "" {
			value = "(not the user's to see)"
		}
		texts[i] = v.Name + " = " + value
	}
	return strings.Join(texts, ", ")
}
