// Package relay is the pipeline: changes come in from the binary log, are
// mapped to harmonics, sent to the channels that are active, and only then
// passed by the checkpoint.
//
//	binlog ──▶ inbox ──▶ mapper ──▶ route ──▶ queue ──▶ publisher
//	                                  │  └──▶ window ──▶ Redis        (nobody there)
//	                                  ▼                    │
//	                                ledger ──▶ checkpoint  └──▶ refill (somebody came)
//
// DESIGN.md tells the rules that nothing is lost by.
package relay
