package mapping

// Config is what the TOML says of mapping: the tables by the name that clients
// use, and the defaults that a table may override.
type Config struct {
	// Tables by the name that clients use for them.
	Tables map[string]Table
	// UserChannel is the template of a user's channel without "private-",
	// in which {id} stands for the user's key and {@tenant} for the tenant.
	UserChannel string
	// TablePrefix is put before the names of tables without a Source.
	TablePrefix string
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
	// VisibleTo lists who may see a row, any of them: "user:{column}" or
	// "channel:name.{column}". Required. {@tenant} is the tenant.
	VisibleTo []string `koanf:"visible_to"`
	// Casts chooses the JSON form of a column where it is not the type's own.
	Casts map[string]string `koanf:"casts"`
	// Broadcast is a preset for Event, Payload and UserChannel: "chorus"
	// (the default) or "model" (Laravel's model broadcasting).
	Broadcast string `koanf:"broadcast"`
	// Model is the Eloquent class, needed by the preset "model".
	Model string `koanf:"model"`
	// Event is the event's name; {operation}, {Operation} and {model} are filled in.
	Event string `koanf:"event"`
	// Payload is the form of the event's data: "harmonic", "model" or "data".
	Payload string `koanf:"payload"`
	// UserChannel overrides Config.UserChannel.
	UserChannel string `koanf:"user_channel"`
}
