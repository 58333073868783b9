// Package mapping turns row changes into harmonics by the rules of the TOML:
// which tables and columns clients get, in which form, and who may see a row.
// It is pure: the same changes by the same rules give the same harmonics.
package mapping
