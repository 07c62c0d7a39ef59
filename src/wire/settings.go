package wire

import (
	"crypto/sha256"
	"net/netip"
	"time"

	"homeconf/src/model"
)

// Configure asks an agent for settings. It is idempotent by generation.
//
//	{1: settings, 2: deadline u32 milliseconds}
//	settings = {1: generation u64, 2: addressing type text, ? 3: address prefix,
//	            ? 4: gateway address, ? 5: [* DNS address]}
type Configure struct {
	Settings model.Settings
	Deadline time.Duration // for the Confirm, from the arrival of this message; whole milliseconds
}

type configure struct {
	Settings settings `cbor:"1,keyasint"`
	Deadline uint32   `cbor:"2,keyasint"`
}

type settings struct {
	Generation uint64   `cbor:"1,keyasint"`
	Type       string   `cbor:"2,keyasint"`
	Address    octets   `cbor:"3,keyasint,omitempty"`
	Gateway    octets   `cbor:"4,keyasint,omitempty"`
	DNS        []octets `cbor:"5,keyasint,omitempty"`
}

// Type is TypeConfigure.
func (Configure) Type() MessageType { return TypeConfigure }

func (c Configure) encode() ([]byte, error) {
	if err := checkDeadline(c.Deadline); err != nil {
		return nil, err
	}
	s, err := fromSettings("Configure: settings", c.Settings)
	if err != nil {
		return nil, err
	}
	return marshal(configure{s, uint32(c.Deadline.Milliseconds())}), nil
}

func checkDeadline(d time.Duration) error {
	if d < time.Millisecond {
		return malformed("Configure: deadline", "%v", d)
	}
	if d > MaxDeadline {
		return tooLong("Configure: deadline in ms", int(d.Milliseconds()), int(MaxDeadline.Milliseconds()))
	}
	return nil
}

func decodeConfigure(b []byte) (c Configure, err error) {
	var w configure
	if err := unmarshal("Configure", b, &w); err != nil {
		return c, err
	}
	c.Deadline = time.Duration(w.Deadline) * time.Millisecond
	if err := checkDeadline(c.Deadline); err != nil {
		return c, err
	}
	c.Settings, err = w.Settings.model("Configure: settings")
	return c, err
}

func fromSettings(what string, s model.Settings) (w settings, err error) {
	w = settings{Generation: s.Generation, Type: string(s.AddressingType)}
	if err := checkSettings(what, s); err != nil {
		return w, err
	}
	if w.Address, err = prefix4(what+": address", s.Address); err != nil {
		return w, err
	}
	if w.Gateway, err = addr4(what+": gateway", s.Gateway); err != nil {
		return w, err
	}
	for _, a := range s.DNS {
		b, err := addr4(what+": DNS", a)
		if err != nil {
			return w, err
		}
		w.DNS = append(w.DNS, b)
	}
	return w, nil
}

func (w settings) model(what string) (s model.Settings, err error) {
	s = model.Settings{Generation: w.Generation, AddressingType: model.AddressingType(w.Type)}
	if s.Address, err = parsePrefix4(what+": address", w.Address); err != nil {
		return s, err
	}
	if s.Gateway, err = parseAddr4(what+": gateway", w.Gateway); err != nil {
		return s, err
	}
	if err := checkList(what+": DNS", len(w.DNS), MaxDNS); err != nil {
		return s, err
	}
	for _, b := range w.DNS {
		a, err := parseAddr4(what+": DNS", b)
		if err != nil {
			return s, err
		}
		s.DNS = append(s.DNS, a)
	}
	return s, checkSettings(what, s)
}

// checkSettings refuses what no interface could be set to.
func checkSettings(what string, s model.Settings) error {
	switch s.AddressingType {
	case model.AddressingStatic:
		if !s.Address.IsValid() || s.Address.Bits() == 0 || !unicast(s.Address.Addr()) {
			return malformed(what+": address", "%v for a static interface", s.Address)
		}
	case model.AddressingDHCP:
		if s.Address != (netip.Prefix{}) {
			return malformed(what+": address", "%v for an interface on DHCP", s.Address)
		}
	default:
		return malformed(what+": addressing type", "%.40q", s.AddressingType)
	}
	if s.Gateway.IsValid() && !unicast(s.Gateway) {
		return malformed(what+": gateway", "%v", s.Gateway)
	}
	for _, a := range s.DNS {
		if !unicast(a) && !a.IsLoopback() {
			return malformed(what+": DNS", "%v", a)
		}
	}
	return checkList(what+": DNS", len(s.DNS), MaxDNS)
}

func unicast(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// SettingsDigest is the SHA-256 of the settings' deterministic CBOR, by which
// both sides know that they speak of the same. It takes any settings, also
// those that could not be sent.
func SettingsDigest(s model.Settings) [32]byte {
	w := settings{Generation: s.Generation, Type: string(s.AddressingType), Gateway: octets(s.Gateway.AsSlice())}
	if s.Address.IsValid() {
		w.Address = octets(append(s.Address.Addr().AsSlice(), byte(s.Address.Bits())))
	}
	for _, a := range s.DNS {
		w.DNS = append(w.DNS, octets(a.AsSlice()))
	}
	return sha256.Sum256(marshal(w))
}

// Outcome is an agent's answer to a Configure.
//
//	{1: generation u64, 2: code text, ? 3: reason text}
type Outcome struct {
	model.Outcome
}

type outcome struct {
	Generation uint64 `cbor:"1,keyasint"`
	Code       string `cbor:"2,keyasint"`
	Reason     string `cbor:"3,keyasint,omitempty"`
}

// Type is TypeOutcome.
func (Outcome) Type() MessageType { return TypeOutcome }

func (o Outcome) check() error {
	switch o.Code {
	case model.OutcomeApplied, model.OutcomeReverted, model.OutcomeRefused:
		return checkText("Outcome: reason", o.Reason)
	}
	return malformed("Outcome: code", "%.40q", o.Code)
}

func (o Outcome) encode() ([]byte, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	return marshal(outcome{o.Generation, string(o.Code), o.Reason}), nil
}

func decodeOutcome(b []byte) (o Outcome, err error) {
	var w outcome
	if err := unmarshal("Outcome", b, &w); err != nil {
		return o, err
	}
	o.Outcome = model.Outcome{Generation: w.Generation, Code: model.OutcomeCode(w.Code), Reason: w.Reason}
	return o, o.check()
}

// Confirm makes applied settings the last known good ones.
//
//	{1: generation u64, 2: digest bytes 32}
type Confirm struct {
	Generation uint64
	Digest     [32]byte // SettingsDigest of what is confirmed
}

type confirm struct {
	Generation uint64 `cbor:"1,keyasint"`
	Digest     octets `cbor:"2,keyasint"`
}

// Type is TypeConfirm.
func (Confirm) Type() MessageType { return TypeConfirm }

func (c Confirm) encode() ([]byte, error) {
	return marshal(confirm{c.Generation, octets(c.Digest[:])}), nil
}

func decodeConfirm(b []byte) (c Confirm, err error) {
	var w confirm
	if err := unmarshal("Confirm", b, &w); err != nil {
		return c, err
	}
	c.Generation = w.Generation
	return c, fixed("Confirm: digest", c.Digest[:], w.Digest)
}

// Confirmed says that the last known good settings are on the agent's disk.
//
//	{1: generation u64}
type Confirmed struct {
	Generation uint64
}

type confirmed struct {
	Generation uint64 `cbor:"1,keyasint"`
}

// Type is TypeConfirmed.
func (Confirmed) Type() MessageType { return TypeConfirmed }

func (c Confirmed) encode() ([]byte, error) { return marshal(confirmed(c)), nil }

func decodeConfirmed(b []byte) (Confirmed, error) {
	var w confirmed
	err := unmarshal("Confirmed", b, &w)
	return Confirmed(w), err
}
