package oracle

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
	"github.com/chorusd/chorusd/tools/services/servicestest"
)

func TestMain(m *testing.M) { servicestest.Main(m) }

// Everything that worlds can be made of.
var complete = Features{
	Again: true, Scopes: true, Public: true, AllOf: true, Paths: true, Morphs: true, Where: true, Users: true,
	Columns: true, Masks: true, Computed: true, Deadlines: true, Tenants: true, Prefixes: true,
	Messages: true, Statements: true, Moves: true,
}

// TestHistory has the history of random worlds, which looks only at what a
// transaction can have changed, be what the whole database gives.
func TestHistory(t *testing.T) {
	for _, kind := range []services.Kind{services.MySQL, services.MariaDB} {
		for seed := range uint64(3) {
			t.Run(string(kind)+" "+strconv.FormatUint(seed, 10), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 0))
				w := Generate(r, complete)
				db := servicestest.NewDatabase(t, kind)
				w.Place(db.Name)
				t.Cleanup(func() {
					for _, database := range w.Databases() {
						_, _ = db.Exec("DROP DATABASE IF EXISTS " + database)
					}
				})
				db.MustExec(t, w.Schema()...)
				statements, err := sql.Open("mysql", db.DSN("multiStatements=true"))
				if err != nil {
					t.Fatal(err)
				}
				defer statements.Close()
				writer, err := newWriter(t.Context(), w, statements, r, complete)
				if err != nil {
					t.Fatal(err)
				}
				defer writer.close(t.Context())
				if _, err := writer.fill(t.Context()); err != nil {
					t.Fatal(err)
				}
				h, err := newHistory(t.Context(), w, statements)
				if err != nil {
					t.Fatalf("%v\n%s", err, w.TOML())
				}
				for n := range 60 {
					next := writer.next
					if n%20 == 19 {
						next = func(ctx context.Context) (*transaction, error) {
							return writer.define(ctx, func(int) bool { return true })
						}
					}
					tx, err := next(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if err := h.committed(t.Context(), tx); err != nil {
						t.Fatal(err)
					}
					mistake, _, _, err := h.verify(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if mistake != "" {
						t.Fatalf("%s\nafter %q\n%s", mistake, tx.statements, w.TOML())
					}
				}
				if len(h.subjects()) == 0 || len(h.past) == 0 {
					t.Error("nothing happened")
				}
			})
		}
	}
}
