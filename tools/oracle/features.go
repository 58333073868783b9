package oracle

// Features are the parts of the mapping that worlds use.
type Features struct {
	Again     bool // rows that one transaction writes several times
	Scopes    bool // membership scopes
	Public    bool // rows for everybody
	AllOf     bool // inner lists of visible_to
	Paths     bool // scope keys through parents
	Morphs    bool // polymorphic parents
	Where     bool // filters over the row
	Users     bool // attributes of users, in filters and elsewhere
	Columns   bool // fields for some only
	Masks     bool // masked fields
	Computed  bool // renamed, constant and computed fields
	Deadlines bool // filters that the clock decides
	Tenants   bool // a database for each of several tenants
	Prefixes  bool // users' channels that are named by an attribute
}

// Supported is what worlds are made of by default.
func Supported() Features {
	return Features{
		Again: true, Scopes: true, Public: true, AllOf: true, Paths: true, Morphs: true, Where: true, Users: true, Columns: true, Masks: true, Computed: true,
		Deadlines: true, Tenants: true, Prefixes: true,
	}
}
