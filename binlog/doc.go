// Package binlog reads a MySQL or MariaDB server for chorusd: it tails the
// binary log as committed row changes, knows the shape of the tables in it,
// and reads rows back at a known point of the log.
//
// It is the only package that imports go-mysql, and the only one that knows
// how a row is laid out: rows keep the event's bytes, and a column is decoded
// when somebody asks for it, straight to JSON text.
package binlog
