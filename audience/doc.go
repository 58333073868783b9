// Package audience keeps who is connected, what scopes they are members of,
// their attributes, and the parents' rows that paths lead through, all as of
// one point of the log. It is the mapping.View that rows are routed by.
//
// DESIGN.md, beside, has the rules by which it stays exact.
package audience
