package wire

// PairStep is a step of pairing inside the session that an XX handshake made.
type PairStep uint8

// The steps, in their order.
const (
	PairCommit  PairStep = 1 // agent: H('commit' ‖ h ‖ Na)
	PairNonce   PairStep = 2 // configurator: Nb
	PairReveal  PairStep = 3 // agent: Na
	PairAdopt   PairStep = 4 // configurator: discovery key, instance, term
	PairPinned  PairStep = 5 // agent: the pin is on disk
	PairRefused PairStep = 6 // either: no
)

func (s PairStep) String() string {
	switch s {
	case PairCommit:
		return "commit"
	case PairNonce:
		return "nonce"
	case PairReveal:
		return "reveal"
	case PairAdopt:
		return "adopt"
	case PairPinned:
		return "pinned"
	case PairRefused:
		return "refused"
	}
	return "unknown"
}

// Pair is one step of pairing. Only what belongs to its step is sent:
//
//	{1: step, ? 2: commit bytes 32, ? 3: nonce bytes 16, ? 4: discovery key bytes 32,
//	 ? 5: instance bytes 16, ? 6: term u64, ? 7: ticket bytes 16, ? 8: ticket key bytes 32}
type Pair struct {
	Step      PairStep
	Commit    [32]byte // PairCommit
	Nonce     [16]byte // PairNonce, PairReveal
	Discovery [32]byte // PairAdopt, like all that follow
	Instance  [16]byte
	Term      uint64
	Ticket    [16]byte // zero: none
	TicketKey [32]byte
}

type pair struct {
	Step      uint8  `cbor:"1,keyasint"`
	Commit    octets `cbor:"2,keyasint,omitempty"`
	Nonce     octets `cbor:"3,keyasint,omitempty"`
	Discovery octets `cbor:"4,keyasint,omitempty"`
	Instance  octets `cbor:"5,keyasint,omitempty"`
	Term      uint64 `cbor:"6,keyasint,omitempty"`
	Ticket    octets `cbor:"7,keyasint,omitempty"`
	TicketKey octets `cbor:"8,keyasint,omitempty"`
}

// Type is TypePair.
func (Pair) Type() MessageType { return TypePair }

func (p Pair) encode() ([]byte, error) {
	w := pair{Step: uint8(p.Step)}
	switch p.Step {
	case PairCommit:
		w.Commit = octets(p.Commit[:])
	case PairNonce, PairReveal:
		w.Nonce = octets(p.Nonce[:])
	case PairAdopt:
		w.Discovery, w.Instance, w.Term = octets(p.Discovery[:]), octets(p.Instance[:]), p.Term
		if p.Ticket != [16]byte{} {
			w.Ticket, w.TicketKey = octets(p.Ticket[:]), octets(p.TicketKey[:])
		}
	case PairPinned, PairRefused:
	default:
		return nil, malformed("Pair: step", "%d", p.Step)
	}
	return marshal(w), nil
}

func decodePair(b []byte) (p Pair, err error) {
	var w pair
	if err := unmarshal("Pair", b, &w); err != nil {
		return p, err
	}
	p.Step = PairStep(w.Step)
	switch p.Step {
	case PairCommit:
		return p, fixed("Pair: commit", p.Commit[:], w.Commit)
	case PairNonce, PairReveal:
		return p, fixed("Pair: nonce", p.Nonce[:], w.Nonce)
	case PairAdopt:
		p.Term = w.Term
		if err := fixed("Pair: discovery key", p.Discovery[:], w.Discovery); err != nil {
			return p, err
		}
		if err := fixed("Pair: instance", p.Instance[:], w.Instance); err != nil {
			return p, err
		}
		if w.Ticket == "" && w.TicketKey == "" {
			return p, nil
		}
		if err := fixed("Pair: ticket", p.Ticket[:], w.Ticket); err != nil {
			return p, err
		}
		if p.Ticket == [16]byte{} {
			return p, malformed("Pair: ticket", "zero")
		}
		return p, fixed("Pair: ticket key", p.TicketKey[:], w.TicketKey)
	case PairPinned, PairRefused:
		return p, nil
	}
	return p, malformed("Pair: step", "%d", w.Step)
}

// Ticket is the secret with which an agent authenticates the first message of
// its next handshake. Each session hands over a new one.
//
//	{1: id bytes 16, 2: key bytes 32}
type Ticket struct {
	ID  [16]byte
	Key [32]byte
}

type ticket struct {
	ID  octets `cbor:"1,keyasint"`
	Key octets `cbor:"2,keyasint"`
}

// Type is TypeTicket.
func (Ticket) Type() MessageType { return TypeTicket }

func (t Ticket) encode() ([]byte, error) {
	return marshal(ticket{octets(t.ID[:]), octets(t.Key[:])}), nil
}

func decodeTicket(b []byte) (t Ticket, err error) {
	var w ticket
	if err := unmarshal("Ticket", b, &w); err != nil {
		return t, err
	}
	if err := fixed("Ticket: id", t.ID[:], w.ID); err != nil {
		return t, err
	}
	return t, fixed("Ticket: key", t.Key[:], w.Key)
}
