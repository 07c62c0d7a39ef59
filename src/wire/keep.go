package wire

// Keep hands an agent its own record, sealed by the home: bytes that the agent
// stores and can't read. Without them it asks for those that the agent keeps,
// and begins every session, so that the agent knows the home's term before it
// is asked for anything.
//
//	{1: term u64, ? 2: sealed bytes}
type Keep struct {
	Term   uint64 // of the home, which an agent obeys when it has heard of no higher one
	Sealed []byte // at most MaxSealed; nil: asked for
}

// Kept is an agent's answer to a Keep that asks.
//
//	{1: term u64, ? 2: sealed bytes}
type Kept struct {
	Term   uint64 // the highest that the agent has heard from its home
	Sealed []byte // nil: it keeps none
}

type keep struct {
	Term   uint64 `cbor:"1,keyasint"`
	Sealed octets `cbor:"2,keyasint,omitempty"`
}

// Type is TypeKeep.
func (Keep) Type() MessageType { return TypeKeep }

// Type is TypeKept.
func (Kept) Type() MessageType { return TypeKept }

func (k Keep) encode() ([]byte, error) { return encodeKeep("Keep", k.Term, k.Sealed) }
func (k Kept) encode() ([]byte, error) { return encodeKeep("Kept", k.Term, k.Sealed) }

func encodeKeep(what string, term uint64, sealed []byte) ([]byte, error) {
	if len(sealed) > MaxSealed {
		return nil, tooLong(what+": sealed", len(sealed), MaxSealed)
	}
	return marshal(keep{term, octets(sealed)}), nil
}

func decodeKeep(b []byte) (k Keep, err error) {
	k.Term, k.Sealed, err = decodeSealed("Keep", b)
	return k, err
}

func decodeKept(b []byte) (k Kept, err error) {
	k.Term, k.Sealed, err = decodeSealed("Kept", b)
	return k, err
}

func decodeSealed(what string, b []byte) (uint64, []byte, error) {
	var w keep
	if err := unmarshal(what, b, &w); err != nil {
		return 0, nil, err
	}
	if len(w.Sealed) > MaxSealed {
		return 0, nil, tooLong(what+": sealed", len(w.Sealed), MaxSealed)
	}
	if w.Sealed == "" {
		return w.Term, nil, nil
	}
	return w.Term, []byte(w.Sealed), nil
}

// Rotate gives an agent the home's new key, which takes the place of the pinned
// one.
//
//	{1: home key bytes 32, 2: discovery key bytes 32}
type Rotate struct {
	Home      [32]byte
	Discovery [32]byte
}

type rotate struct {
	Home      octets `cbor:"1,keyasint"`
	Discovery octets `cbor:"2,keyasint"`
}

// Type is TypeRotate.
func (Rotate) Type() MessageType { return TypeRotate }

func (r Rotate) encode() ([]byte, error) {
	if r.Home == [32]byte{} {
		return nil, malformed("Rotate: home key", "zero")
	}
	return marshal(rotate{octets(r.Home[:]), octets(r.Discovery[:])}), nil
}

func decodeRotate(b []byte) (r Rotate, err error) {
	var w rotate
	if err := unmarshal("Rotate", b, &w); err != nil {
		return r, err
	}
	if err := fixed("Rotate: home key", r.Home[:], w.Home); err != nil {
		return r, err
	}
	if r.Home == [32]byte{} {
		return r, malformed("Rotate: home key", "zero")
	}
	return r, fixed("Rotate: discovery key", r.Discovery[:], w.Discovery)
}

// Rotated says that the new home key is on the agent's disk.
//
//	{1: home key bytes 32}
type Rotated struct {
	Home [32]byte
}

type rotated struct {
	Home octets `cbor:"1,keyasint"`
}

// Type is TypeRotated.
func (Rotated) Type() MessageType { return TypeRotated }

func (r Rotated) encode() ([]byte, error) { return marshal(rotated{octets(r.Home[:])}), nil }

func decodeRotated(b []byte) (r Rotated, err error) {
	var w rotated
	if err := unmarshal("Rotated", b, &w); err != nil {
		return r, err
	}
	return r, fixed("Rotated: home key", r.Home[:], w.Home)
}
