package main

import (
	"fmt"
	"testing"

	"github.com/chorusd/chorusd/tools/services"
)

// TestTextsAsUserKeys has users whose keys are ULIDs, or MariaDB's UUIDs, and
// whose channels bear the tenant that a column of theirs says.
func TestTextsAsUserKeys(t *testing.T) {
	onBoth(t, func(t *testing.T, kind services.Kind) {
		key, ann, bob, own := "CHAR(26)", "01J9ZQ3V7W8X2Y4K6M0N5P1RST", "01J9ZQ3V7W8X2Y4K6M0N5P1RSV", "01J9ZQ3V7W8X2Y4K6M0N5P1RSW"
		if kind == services.MariaDB {
			key, ann, bob, own = "UUID", "01939b5a-0c4e-7d6f-8a1b-2c3d4e5f6071", "01939b5a-0c4e-7d6f-8a1b-2c3d4e5f6072", "01939b5a-0c4e-7d6f-8a1b-2c3d4e5f6073"
		}
		s := newStack(t, onServers{kind: kind}, marksMapping+`
[users]
source = "users"
key = "id"
attributes = ["tenant_id"]
[[scopes.tenant.members]]
source = "users"
scope = "tenant_id"
user = "id"
[tables.todos]
fields = ["id", "user_id", "title"]
visible_to = ["user:{user_id}"]
[tables.orders]
fields = ["id", "number"]
visible_to = ["tenant:{tenant_id}"]
`,
			marksTable,
			fmt.Sprintf("CREATE TABLE users (id %s PRIMARY KEY, tenant_id INT NOT NULL)", key),
			fmt.Sprintf("CREATE TABLE todos (id %[1]s PRIMARY KEY, user_id %[1]s, title VARCHAR(20), KEY (user_id))", key),
			fmt.Sprintf("CREATE TABLE orders (id %s PRIMARY KEY, tenant_id INT, number INT, KEY (tenant_id))", key),
			fmt.Sprintf("INSERT INTO users VALUES ('%s', 1), ('%s', 2)", ann, bob))
		s.env = append(s.env, "CHORUSD_CHANNELS_USER=chorus.tenant-{tenant_id}.user.{id}")
		channel := func(tenant int, user string) string { return fmt.Sprintf("chorus.tenant-%d.user.%s", tenant, user) }
		anns, bobs, foreign := channel(1, ann), channel(2, bob), channel(2, ann)
		w := s.watch(t, anns, bobs, foreign)
		todo := func(operation, id, user, title string) string {
			return fmt.Sprintf(`%[1]s todos "%[2]s" {"id":"%[2]s","user_id":"%[3]s","title":"%[4]s"}`, operation, id, user, title)
		}
		order := func(operation, id string, number int) string {
			return fmt.Sprintf(`%[1]s orders "%[2]s" {"id":"%[2]s","number":%[3]d}`, operation, id, number)
		}
		w.step(t, "each user and tenant has a row", told{
			anns: {todo("create", ann, ann, "a"), order("create", ann, 1)},
			bobs: {todo("create", bob, bob, "b"), order("create", bob, 2)},
		},
			fmt.Sprintf("INSERT INTO todos VALUES ('%[1]s', '%[1]s', 'a'), ('%[2]s', '%[2]s', 'b')", ann, bob),
			fmt.Sprintf("INSERT INTO orders VALUES ('%s', 1, 1), ('%s', 2, 2)", ann, bob))
		w.step(t, "a row moves from one to the other", told{
			anns: {todo("delete", ann, ann, "a")}, bobs: {todo("create", ann, bob, "moved")},
		}, fmt.Sprintf("UPDATE todos SET user_id = '%s', title = 'moved' WHERE id = '%s'", bob, ann))
		if kind == services.MySQL { // keys are compared by their bytes, whatever the collation thinks
			w.step(t, "a row of another key by case alone", told{bobs: {todo("delete", ann, bob, "moved")}},
				fmt.Sprintf("UPDATE todos SET user_id = LOWER(user_id) WHERE id = '%s'", ann))
		}
		w.step(t, "another of her own", told{anns: {todo("create", own, ann, "hers")}},
			fmt.Sprintf("INSERT INTO todos VALUES ('%s', '%s', 'hers')", own, ann))
		w.step(t, "a user changes the tenant, and with it the channel", told{
			anns: {"reload"}, foreign: {fmt.Sprintf(`delete orders "%[1]s" {"id":"%[1]s"}`, ann), order("update", bob, 2), todo("update", own, ann, "hers")},
		}, fmt.Sprintf("UPDATE users SET tenant_id = 2 WHERE id = '%s'", ann))
		w.step(t, "the channel of before is nobody's", told{
			bobs: {order("update", bob, 3)}, foreign: {order("update", bob, 3), todo("update", own, ann, "done")},
		}, "UPDATE orders SET number = number + 1", fmt.Sprintf("UPDATE todos SET title = 'done' WHERE id = '%s'", own))
		w.daemon.terminate(t)
		// Who listens there when chorusd begins is told as well.
		s.start(t)
		w.client.awaitReloads(t, anns, 2)
	})
}
