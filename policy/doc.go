// Package policy asks the Laravel app what only its policies know: whether
// users may see rows. It is the client of a signed HTTP callback into the app;
// docs/POLICIES.md is the protocol.
//
// The answers are yes, no and unknown. Whatever goes wrong is unknown for what
// it concerns, and nothing that went wrong is ever a yes.
package policy
