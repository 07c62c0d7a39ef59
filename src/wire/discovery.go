package wire

// Way is a way of pairing.
type Way uint8

// The ways of pairing. WayNone stands where a pinned key makes pairing needless.
const (
	WayNone    Way = 0
	WayApprove Way = 1 // a person compares six digits
	WayWindow  Way = 2 // a button opens it for two minutes
	WayCode    Way = 3 // the set-up code printed on the device
)

func (w Way) String() string {
	switch w {
	case WayNone:
		return "none"
	case WayApprove:
		return "approve"
	case WayWindow:
		return "window"
	case WayCode:
		return "code"
	}
	return "unknown"
}

// Known says whether this version has the way.
func (w Way) Known() bool { return w >= WayApprove && w <= WayCode }

// Body is the CBOR body of a discovery or handshake frame.
type Body interface {
	Frame() FrameType
	encode() ([]byte, error)
}

// AppendBody appends a whole frame with the body.
func AppendBody(dst []byte, receiver uint32, b Body) ([]byte, error) {
	body, err := b.encode()
	if err != nil {
		return dst, err
	}
	return Frame{Type: b.Frame(), Receiver: receiver, Body: body}.Append(dst)
}

// ParseBody reads the body of any frame but TRANSPORT: the type of the answer
// (a value, not a pointer) follows the frame's.
func ParseBody(f Frame) (Body, error) {
	switch f.Type {
	case FrameSolicit:
		return asBody(ParseSolicit(f.Body))
	case FrameAdvertise:
		return asBody(ParseAdvertise(f.Body))
	case FrameHandshake1:
		return asBody(ParseHandshake1(f.Body))
	case FrameHandshake2:
		return asBody(ParseHandshake2(f.Body))
	case FrameHandshake3:
		return asBody(ParseHandshake3(f.Body))
	}
	return nil, malformed("frame", "%v has no CBOR body", f.Type)
}

func asBody[B Body](b B, err error) (Body, error) {
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Solicit is an agent's question for configurators.
//
//	{1: nonce bytes 16}
type Solicit struct {
	Nonce [16]byte
}

type solicit struct {
	Nonce octets `cbor:"1,keyasint"`
}

// Frame is FrameSolicit.
func (Solicit) Frame() FrameType { return FrameSolicit }

func (s Solicit) encode() ([]byte, error) {
	return marshal(solicit{Nonce: octets(s.Nonce[:])}), nil
}

// ParseSolicit reads the body of a SOLICIT.
func ParseSolicit(body []byte) (s Solicit, err error) {
	var w solicit
	if err := unmarshal("SOLICIT", body, &w); err != nil {
		return s, err
	}
	return s, fixed("SOLICIT: nonce", s.Nonce[:], w.Nonce)
}

// Advertise is a configurator's sign of life, or its answer to a SOLICIT.
// It is never a source of trust; the tag only lets an agent that belongs to
// the home recognise it.
//
//	{1: instance bytes 16, 2: nonce bytes 16, ? 3: asker bytes 16,
//	 ? 4: cookie bytes 1..64, ? 5: tag bytes 32, ? 6: [* way]}
type Advertise struct {
	Instance [16]byte
	Nonce    [16]byte
	Asker    [16]byte // the SOLICIT's nonce; zero when unsolicited
	Cookie   []byte   // bound to the asker; nil when unsolicited
	Tag      []byte   // 32 bytes; nil where nobody could recognise it
	Ways     []Way    // of pairing, offered now
}

type advertise struct {
	Instance octets   `cbor:"1,keyasint"`
	Nonce    octets   `cbor:"2,keyasint"`
	Asker    octets   `cbor:"3,keyasint,omitempty"`
	Cookie   octets   `cbor:"4,keyasint,omitempty"`
	Tag      octets   `cbor:"5,keyasint,omitempty"`
	Ways     []uint16 `cbor:"6,keyasint,omitempty"` // not uint8: a slice of bytes is a byte string
}

const tagSize = 32

// Frame is FrameAdvertise.
func (Advertise) Frame() FrameType { return FrameAdvertise }

func (a Advertise) encode() ([]byte, error) {
	w := advertise{Instance: octets(a.Instance[:]), Nonce: octets(a.Nonce[:]), Cookie: octets(a.Cookie), Tag: octets(a.Tag)}
	if a.Asker != [16]byte{} {
		w.Asker = octets(a.Asker[:])
	}
	if err := checkList("ADVERTISE: cookie", len(a.Cookie), MaxCookie); err != nil {
		return nil, err
	}
	if _, err := optional("ADVERTISE: tag", w.Tag, tagSize); err != nil {
		return nil, err
	}
	if err := checkList("ADVERTISE: ways", len(a.Ways), MaxWays); err != nil {
		return nil, err
	}
	for _, v := range a.Ways {
		if !v.Known() {
			return nil, malformed("ADVERTISE: ways", "way %d", v)
		}
		w.Ways = append(w.Ways, uint16(v))
	}
	return marshal(w), nil
}

// ParseAdvertise reads the body of an ADVERTISE. Ways that this version does
// not know are left out.
func ParseAdvertise(body []byte) (Advertise, error) {
	var a Advertise
	var w advertise
	if err := unmarshal("ADVERTISE", body, &w); err != nil {
		return a, err
	}
	if err := fixed("ADVERTISE: instance", a.Instance[:], w.Instance); err != nil {
		return a, err
	}
	if err := fixed("ADVERTISE: nonce", a.Nonce[:], w.Nonce); err != nil {
		return a, err
	}
	if w.Asker != "" {
		if err := fixed("ADVERTISE: asker", a.Asker[:], w.Asker); err != nil {
			return a, err
		}
	}
	if err := checkList("ADVERTISE: cookie", len(w.Cookie), MaxCookie); err != nil {
		return a, err
	}
	if w.Cookie != "" {
		a.Cookie = []byte(w.Cookie)
	}
	var err error
	if a.Tag, err = optional("ADVERTISE: tag", w.Tag, tagSize); err != nil {
		return a, err
	}
	if err := checkList("ADVERTISE: ways", len(w.Ways), MaxWays); err != nil {
		return a, err
	}
	for _, v := range w.Ways {
		if v <= 0xff && Way(v).Known() {
			a.Ways = append(a.Ways, Way(v))
		}
	}
	return a, nil
}
