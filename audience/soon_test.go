package audience

import (
	"strings"
	"testing"
	"time"

	"github.com/chorusd/chorusd/binlog"
)

// TestMembershipsThatAreSoonOthers: the clock is at 5, and those of others may
// be ahead of it by 5. A row of guests begins at a time, one of platform_user
// ends at one.
func TestMembershipsThatAreSoonOthers(t *testing.T) {
	type rows map[*binlog.Table][]int // the times of rows; null of one that has none
	for _, c := range []struct {
		about         string
		before, after rows
		soon          bool // before
		ticks         []int
		fx            string // of the transaction, and of each tick: - is nothing, ! that it was soon
	}{
		{about: "it begins soon, and the row goes", before: rows{guests: {10}}, soon: true, fx: "lost!"},
		{about: "it begins later, and the row goes", before: rows{guests: {11}}, fx: "-"},
		{about: "it begins soon, and is put off", before: rows{guests: {6}}, after: rows{guests: {11}}, soon: true, fx: "lost!"},
		{about: "it is put off, but not for long", before: rows{guests: {6}}, after: rows{guests: {10}}, soon: true, ticks: []int{9, 10}, fx: "- - gained!"},
		{about: "it begins soon, and then at once", before: rows{guests: {6}}, after: rows{guests: {5}}, soon: true, ticks: []int{6}, fx: "gained! -"},
		{about: "another row begins soon, too", before: rows{guests: {6, 10}}, after: rows{guests: {10}}, soon: true, fx: "-"},
		{about: "it begins soon for one who is there", before: rows{guests: {6, null}}, after: rows{guests: {null}}, fx: "-"},
		{about: "it ends soon, and is prolonged", before: rows{platformUser: {10}}, after: rows{platformUser: {11}}, soon: true, fx: "gained!"},
		{about: "it ends later, and is prolonged", before: rows{platformUser: {11}}, after: rows{platformUser: {20}}, fx: "-"},
		{
			about: "it ends soon, and another row stays", before: rows{platformUser: {10}}, after: rows{platformUser: {10, null}},
			soon: true, ticks: []int{10}, fx: "gained! -",
		},
		{about: "it ends soon, and the row goes", before: rows{platformUser: {10}}, soon: true, fx: "lost!"},
		{
			about: "one row follows the other", before: rows{guests: {8}, platformUser: {8}}, after: rows{guests: {8}, platformUser: {8}},
			ticks: []int{9}, fx: "- -",
		},
		{
			about: "one row follows the other after a while", before: rows{guests: {9}, platformUser: {8}}, after: rows{guests: {9}, platformUser: {8}},
			soon: true, ticks: []int{8, 9}, fx: "- lost! gained!",
		},
		{
			about: "the clock skips that while", before: rows{guests: {9}, platformUser: {8}}, after: rows{guests: {9}, platformUser: {8}},
			soon: true, ticks: []int{9}, fx: "- gained!",
		},
	} {
		t.Run(c.about, func(t *testing.T) {
			s := newState(fakeRules{}, Config{Lead: 5 * time.Microsecond}, time.UnixMicro(5))
			images := func(of rows) (list [][]*binlog.Change) {
				for _, table := range []*binlog.Table{guests, platformUser} { // in this order
					for i, at := range of[table] {
						values := []int{1 + i, 3, 7, 1, at}
						list = append(list, []*binlog.Change{change(table, nil, values), change(table, values, nil)})
					}
				}
				return list
			}
			read := &loaded{}
			for _, image := range images(c.before) {
				plan := fakeMembers{image[0].Table()}
				g, _, err := grantOf(plan, image[0].After)
				if err != nil {
					t.Fatal(err)
				}
				key, err := appendRowKey(nil, plan, image[0].After)
				if err != nil {
					t.Fatal(err)
				}
				read.rows = append(read.rows, loadedRow{string(key), g})
			}
			read.Load, _ = s.Open("7", 1, "7")
			if _, err := s.Finish(&Loaded{users: []*loaded{read}}); err != nil {
				t.Fatal(err)
			}
			apply := func(c *binlog.Change) {
				if err := s.Apply(c, func(Note) error { return nil }); err != nil {
					t.Fatal(err)
				}
			}
			told := func(fx Effects) string {
				text := "-"
				for _, m := range fx.Memberships {
					text = strings.TrimPrefix(text+map[bool]string{true: "gained", false: "lost"}[m.Gained], "-")
					if m.Soon {
						text += "!"
					}
				}
				return text
			}
			_, now := s.Views()
			u, platform := now.User("7"), scope("platform", 3)
			if now.IsSoon(u, platform) != c.soon {
				t.Errorf("soon another: %t, want %t", !c.soon, c.soon)
			}
			s.Begin()
			for _, image := range images(c.after) {
				apply(image[0])
			}
			for _, image := range images(c.before) {
				apply(image[1])
			}
			if old, _ := s.Views(); old.IsSoon(u, platform) != c.soon || len(old.Soon(platform)) > 0 != c.soon {
				t.Errorf("in the transaction, soon another before it: %t, want %t", !c.soon, c.soon)
			}
			got := []string{told(s.Commit())}
			for _, at := range c.ticks {
				got = append(got, told(s.Tick(time.UnixMicro(int64(at)))))
			}
			if text := strings.Join(got, " "); text != c.fx {
				t.Errorf("told: %q, want %q", text, c.fx)
			}
		})
	}
}
