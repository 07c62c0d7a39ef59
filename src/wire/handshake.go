package wire

import "fmt"

// Pattern is a Noise handshake pattern.
type Pattern uint8

// The patterns; the agent is the initiator in each.
const (
	PatternXX     Pattern = 1 // Noise_XX_25519_ChaChaPoly_BLAKE2s
	PatternIK     Pattern = 2 // Noise_IK_25519_ChaChaPoly_BLAKE2s
	PatternXXpsk3 Pattern = 3 // Noise_XXpsk3_25519_ChaChaPoly_BLAKE2s
)

func (p Pattern) String() string {
	switch p {
	case PatternXX:
		return "XX"
	case PatternIK:
		return "IK"
	case PatternXXpsk3:
		return "XXpsk3"
	}
	return fmt.Sprintf("Pattern(%d)", uint8(p))
}

// MaxDiscriminator is the largest discriminator: twelve bits.
const MaxDiscriminator = 1<<12 - 1

// Handshake1 opens a handshake. Nothing in it is secret, and until its Noise
// message is read nothing in it is proven; cookie and ticket come before that
// message so that it need not be read for a stranger's sake.
//
//	{1: pattern, 2: way, 3: sender u32, 4: instance bytes 16,
//	 5: agent nonce bytes 16, 6: home nonce bytes 16, 7: cookie bytes 1..64,
//	 ? 8: discriminator 0..4095, ? 9: ticket bytes 16, ? 10: ticket mac bytes 16,
//	 11: noise bytes 1..1024}
type Handshake1 struct {
	Pattern       Pattern
	Way           Way    // WayNone only with PatternIK
	Sender        uint32 // the agent's index, never 0
	Instance      [16]byte
	AgentNonce    [16]byte // the SOLICIT's
	HomeNonce     [16]byte // the ADVERTISE's
	Cookie        []byte   // the ADVERTISE's; nil where the ticket stands for it
	Discriminator uint16   // with PatternXXpsk3
	Ticket        []byte   // 16 bytes, or nil
	TicketMAC     []byte   // 16 bytes, with Ticket
	Noise         []byte
}

type handshake1 struct {
	Pattern       uint8  `cbor:"1,keyasint"`
	Way           uint8  `cbor:"2,keyasint,omitempty"`
	Sender        uint32 `cbor:"3,keyasint"`
	Instance      octets `cbor:"4,keyasint"`
	AgentNonce    octets `cbor:"5,keyasint"`
	HomeNonce     octets `cbor:"6,keyasint"`
	Cookie        octets `cbor:"7,keyasint,omitempty"`
	Discriminator uint16 `cbor:"8,keyasint,omitempty"`
	Ticket        octets `cbor:"9,keyasint,omitempty"`
	TicketMAC     octets `cbor:"10,keyasint,omitempty"`
	Noise         octets `cbor:"11,keyasint"`
}

const ticketSize = 16

// Frame is FrameHandshake1.
func (Handshake1) Frame() FrameType { return FrameHandshake1 }

func (h Handshake1) encode() ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	return marshal(handshake1{
		Pattern: uint8(h.Pattern), Way: uint8(h.Way), Sender: h.Sender,
		Instance: octets(h.Instance[:]), AgentNonce: octets(h.AgentNonce[:]), HomeNonce: octets(h.HomeNonce[:]),
		Cookie: octets(h.Cookie), Discriminator: h.Discriminator,
		Ticket: octets(h.Ticket), TicketMAC: octets(h.TicketMAC), Noise: octets(h.Noise),
	}), nil
}

func (h *Handshake1) check() error {
	switch {
	case h.Pattern < PatternXX || h.Pattern > PatternXXpsk3:
		return malformed("HANDSHAKE1: pattern", "%d", h.Pattern)
	case h.Way != WayNone && !h.Way.Known(), h.Way == WayNone && h.Pattern != PatternIK:
		return malformed("HANDSHAKE1: way", "%d with %v", h.Way, h.Pattern)
	case (h.Way == WayCode) != (h.Pattern == PatternXXpsk3) && h.Pattern != PatternIK:
		return malformed("HANDSHAKE1: way", "%v with %v", h.Way, h.Pattern)
	case h.Discriminator > MaxDiscriminator:
		return tooLong("HANDSHAKE1: discriminator", int(h.Discriminator), MaxDiscriminator)
	case h.Sender == 0:
		return malformed("HANDSHAKE1: sender", "0")
	case len(h.Cookie) > MaxCookie:
		return tooLong("HANDSHAKE1: cookie", len(h.Cookie), MaxCookie)
	case len(h.Ticket) != 0 && len(h.Ticket) != ticketSize, len(h.TicketMAC) != len(h.Ticket):
		return malformed("HANDSHAKE1: ticket", "%d bytes and %d of MAC, want both or neither of %d", len(h.Ticket), len(h.TicketMAC), ticketSize)
	}
	return checkNoise("HANDSHAKE1", len(h.Noise))
}

func checkNoise(what string, n int) error {
	if n == 0 {
		return malformed(what+": noise", "empty")
	}
	return checkList(what+": noise", n, MaxNoise)
}

func bytesOrNil(b octets) []byte {
	if b == "" {
		return nil
	}
	return []byte(b)
}

// ParseHandshake1 reads the body of a HANDSHAKE1.
func ParseHandshake1(body []byte) (h Handshake1, err error) {
	const what = "HANDSHAKE1"
	var w handshake1
	if err := unmarshal(what, body, &w); err != nil {
		return h, err
	}
	h = Handshake1{Pattern: Pattern(w.Pattern), Way: Way(w.Way), Sender: w.Sender, Cookie: bytesOrNil(w.Cookie),
		Discriminator: w.Discriminator, Ticket: bytesOrNil(w.Ticket), TicketMAC: bytesOrNil(w.TicketMAC), Noise: bytesOrNil(w.Noise)}
	if err := fixed(what+": instance", h.Instance[:], w.Instance); err != nil {
		return h, err
	}
	if err := fixed(what+": agent nonce", h.AgentNonce[:], w.AgentNonce); err != nil {
		return h, err
	}
	if err := fixed(what+": home nonce", h.HomeNonce[:], w.HomeNonce); err != nil {
		return h, err
	}
	return h, h.check()
}

// Handshake2 is the configurator's answer; the agent's index stands in the
// frame header.
//
//	{1: sender u32, 2: noise bytes 1..1024}
type Handshake2 struct {
	Sender uint32 // the configurator's index, never 0
	Noise  []byte
}

type handshake2 struct {
	Sender uint32 `cbor:"1,keyasint"`
	Noise  octets `cbor:"2,keyasint"`
}

// Frame is FrameHandshake2.
func (Handshake2) Frame() FrameType { return FrameHandshake2 }

func (h Handshake2) encode() ([]byte, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	return marshal(handshake2{h.Sender, octets(h.Noise)}), nil
}

func (h *Handshake2) check() error {
	if h.Sender == 0 {
		return malformed("HANDSHAKE2: sender", "0")
	}
	return checkNoise("HANDSHAKE2", len(h.Noise))
}

// ParseHandshake2 reads the body of a HANDSHAKE2.
func ParseHandshake2(body []byte) (h Handshake2, err error) {
	var w handshake2
	if err := unmarshal("HANDSHAKE2", body, &w); err != nil {
		return h, err
	}
	h = Handshake2{Sender: w.Sender, Noise: bytesOrNil(w.Noise)}
	return h, h.check()
}

// Handshake3 ends the patterns of three messages.
//
//	{1: noise bytes 1..1024}
type Handshake3 struct {
	Noise []byte
}

type handshake3 struct {
	Noise octets `cbor:"1,keyasint"`
}

// Frame is FrameHandshake3.
func (Handshake3) Frame() FrameType { return FrameHandshake3 }

func (h Handshake3) encode() ([]byte, error) {
	if err := checkNoise("HANDSHAKE3", len(h.Noise)); err != nil {
		return nil, err
	}
	return marshal(handshake3{octets(h.Noise)}), nil
}

// ParseHandshake3 reads the body of a HANDSHAKE3.
func ParseHandshake3(body []byte) (h Handshake3, err error) {
	var w handshake3
	if err := unmarshal("HANDSHAKE3", body, &w); err != nil {
		return h, err
	}
	h.Noise = bytesOrNil(w.Noise)
	return h, checkNoise("HANDSHAKE3", len(h.Noise))
}
