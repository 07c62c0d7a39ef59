package configurator

import (
	"sync"

	"homeconf/src/options"
	"homeconf/src/session"
	"homeconf/src/wire"
)

// memberSet is what the session layer asks from its own goroutine: who belongs
// to the home, which pairing way is offered, which set-up codes were typed in.
type memberSet struct {
	mu   sync.Mutex
	keys map[session.PublicKey]bool
	way  wire.Way
	code map[uint16][][]byte
}

func (m *memberSet) add(k session.PublicKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.keys == nil {
		m.keys = map[session.PublicKey]bool{}
	}
	m.keys[k] = true
}

func (m *memberSet) has(k session.PublicKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys[k]
}

func (m *memberSet) setWay(p options.Pairing) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch p {
	case options.PairingWindow:
		m.way = wire.WayWindow
	case options.PairingCode:
		m.way = wire.WayCode
	default:
		m.way = wire.WayApprove
	}
}

func (m *memberSet) offered() wire.Way {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.way
}

// addCode keeps a set-up code that a person typed in.
func (m *memberSet) addCode(discriminator uint16, psk []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.code == nil {
		m.code = map[uint16][][]byte{}
	}
	m.code[discriminator] = append(m.code[discriminator], psk)
}

func (m *memberSet) dropCodes() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.code = nil
}

func (m *memberSet) codes(discriminator uint16) [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.code[discriminator]
}
