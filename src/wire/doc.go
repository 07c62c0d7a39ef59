// Package wire turns the messages of the home configuration protocol (HCP,
// version 1) into bytes and back. It does no I/O and knows neither keys nor a
// clock. SPEC.md has the protocol's text, hcp.cddl the schema.
//
// There are three layers, each with its own parser:
//
//   - a frame is the payload of one Ethernet frame: [Frame], [ParseFrame]. The
//     bodies of discovery and handshake frames are CBOR: [Body], [ParseBody];
//   - a record is the plaintext of one TRANSPORT frame: [Record], [ParseRecord];
//   - a message is what records carry in fragments: [Message], [DecodeMessage].
//
// Every parser takes hostile bytes: it checks lengths before anything else,
// allocates no more than a small multiple of its input, and answers an error
// that wraps one of this package's sentinels, so that callers can count reasons.
package wire
