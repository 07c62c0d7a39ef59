// Package agent is the device side put together: it finds its home, proves
// itself, reports, applies what it is asked, and goes back by itself when
// nobody confirms.
//
// One goroutine owns all state (loop in agent.go). A change of settings reads
// downward in commit.go:
//
//	Configure → pending on disk → applied → announced → proven → Outcome →
//	Confirm → last known good on disk → pending removed → Confirmed
//
// Steps told to Config.Step, between any two of which a crash is survived:
// pin.begin, pin.stored, configure.received, pending.stored, applied,
// announced, proven, outcome.sent, confirm.received, good.stored,
// pending.removed, confirmed.sent, revert.begin, reverted, revert.removed,
// retire.begin, retire.taken, retire.done, reset.begin, reset.taken,
// reset.removed, strand.begin, strand.stored,
// stranded, home.back, home.applied, home.stored,
// keep.begin, keep.stored, rotate.begin, rotate.stored, rotate.sent.
package agent
