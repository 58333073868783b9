package mapping

// Config is what the TOML says of mapping: the tables by the name that clients
// use, and the defaults that a table may override.
type Config struct {
	// Tables by the name that clients use for them.
	Tables map[string]Table
	// Encrypted has all channels begin with "private-encrypted-", for a
	// publisher that encrypts, instead of "private-".
	Encrypted bool
	// UserChannel is the template of a user's channel without that,
	// in which {id} stands for the user's key and {@tenant} for the tenant.
	UserChannel string
	// TablePrefix is put before the names of tables without a Source.
	TablePrefix string
	// Users is where attributes of users come from.
	Users Users
	// Scopes are the membership scopes by name.
	Scopes map[string]Scope
	// Masks holds what masks need.
	Masks Masks
}

// Users says which table has attributes of users.
type Users struct {
	// Source is the table as in Table.Source; empty: there is none.
	Source string `koanf:"source"`
	// Key is the column of the key that user scopes hold.
	Key string `koanf:"key"`
	// Attributes are the columns that expressions know as user.NAME, and
	// templates of users' channels as {NAME}.
	Attributes []string `koanf:"attributes"`
}

// Scope is a set of users that tables say the members of.
type Scope struct {
	// Members are the tables; who is a member by one of them is one.
	Members []Members `koanf:"members"`
}

// Members says which table makes users members.
type Members struct {
	// Source is the table as in Table.Source. Required.
	Source string `koanf:"source"`
	// Scope is the column of the scope's key. Required.
	Scope string `koanf:"scope"`
	// User is the column of the user's key. Required.
	User string `koanf:"user"`
	// Where is a condition on the row; empty: every row counts.
	Where string `koanf:"where"`
}

// Masks holds what masks need.
type Masks struct {
	// Secret is the key of the mask "hash".
	Secret string
}

// Column says how a field is made, where it is not the column of its name.
type Column struct {
	// Column is the table's column; empty: that of the field's name.
	Column string `koanf:"column"`
	// Value is an expression over the row, in place of a column.
	Value string `koanf:"value"`
	// VisibleIf is a condition over row and user; without it, the field is left out.
	VisibleIf string `koanf:"visible_if"`
	// Mask hides the value: "email", "name", "fixed:TEXT", "truncate:N" or "hash".
	Mask string `koanf:"mask"`
	// UnmaskedIf is a condition over row and user under which it does not.
	UnmaskedIf string `koanf:"unmasked_if"`
}

// An Alternative is entries of visible_to that must all hold; mostly it is one.
type Alternative []string

// AnyOf makes alternatives of one entry each.
func AnyOf(entries ...string) []Alternative {
	list := make([]Alternative, len(entries))
	for i, e := range entries {
		list[i] = Alternative{e}
	}
	return list
}

// Table maps one database table.
type Table struct {
	// Source is the table's whole name, "table" or "database.table", either
	// part perhaps in backticks; empty: the client's name behind the prefix.
	// A % in the database's, outside of backticks, is a tenant's part of it:
	// "tenant_%.todos" is that table of each such database.
	Source string `koanf:"source"`
	// Key lists the columns that identify a record; empty: the primary key,
	// or else the first unique key without nullable columns.
	Key []string `koanf:"key"`
	// Fields lists the columns that clients get, in order. Required.
	Fields []string `koanf:"fields"`
	// VisibleTo lists who may see a row, any of them: "user:{column}",
	// "SCOPE:{column}", "public" or "channel:name.{column}". A column may be
	// reached through parents, "post_id -> posts.team_id", and {@tenant} is
	// the tenant. Required.
	VisibleTo []Alternative `koanf:"visible_to"`
	// Where is a condition on row and user; empty: every row counts.
	Where string `koanf:"where"`
	// Columns says how fields are made, by their names.
	Columns map[string]Column `koanf:"columns"`
	// Authorize is "laravel" if the app's policies are asked, too, whether a
	// user whom VisibleTo and Where let see a row may do so; else empty.
	Authorize string `koanf:"authorize"`
	// Ability is what is asked of the policy; empty: "view".
	Ability string `koanf:"ability"`
	// Casts chooses the JSON form of a column where it is not the type's own.
	Casts map[string]string `koanf:"casts"`
	// NotSecret lists columns that only look like secrets, see Mapper.Leaks.
	NotSecret []string `koanf:"not_secret"`
	// Broadcast is a preset for Event, Payload and UserChannel: "chorus"
	// (the default) or "model" (Laravel's model broadcasting).
	Broadcast string `koanf:"broadcast"`
	// Model is the Eloquent class, needed by the preset "model" and by Authorize.
	Model string `koanf:"model"`
	// Event is the event's name; {operation}, {Operation} and {model} are filled in.
	Event string `koanf:"event"`
	// Payload is the form of the event's data: "harmonic", "model" or "data".
	Payload string `koanf:"payload"`
	// UserChannel overrides Config.UserChannel.
	UserChannel string `koanf:"user_channel"`
}
