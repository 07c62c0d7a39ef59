// Package session turns frames of a segment into authenticated messages of
// known devices, and says nothing to the rest: discovery, cookies, handshakes,
// pairing, sealed records, reliable delivery.
//
// A Responder is the configurator's side, an Initiator the agent's. Each runs
// one goroutine that owns all protocol state and one that reads the port. The
// protocol is written down in ../wire/SPEC.md.
package session
