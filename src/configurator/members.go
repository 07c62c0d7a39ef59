package configurator

import (
	"sync"
	"time"

	"homeconf/src/model"
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
	code []enteredCode

	gone   map[keyHash]bool // on the roster, and without a record here
	anyone bool             // the home was restored: there may be more of them
}

// enteredCode is a set-up code whose device has not come yet.
type enteredCode struct {
	code  session.SetupCode
	until time.Time
}

// maxCodes is how many set-up codes may await their devices.
const maxCodes = 16

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

func (m *memberSet) remove(k session.PublicKey) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.keys, k)
}

// await says whose records are to come from themselves.
func (m *memberSet) await(gone map[keyHash]bool, anyone bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone, m.anyone = gone, anyone
}

// away says whether a device without a record may be one of the home's.
func (m *memberSet) away(k session.PublicKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.anyone || m.gone[hashOf(model.DeviceKey(k))]
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

// addCode keeps a set-up code that a person typed in; the same one again waits
// anew. False says that too many wait.
func (m *memberSet) addCode(code session.SetupCode, until time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropCode(func(e enteredCode) bool { return e.code == code })
	if len(m.code) >= maxCodes {
		return false
	}
	m.code = append(m.code, enteredCode{code, until})
	return true
}

// useCode forgets a code whose device has come: a code lets in one.
func (m *memberSet) useCode(code session.SetupCode) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropCode(func(e enteredCode) bool { return e.code == code })
}

// waitsFor says whether a code still awaits its device.
func (m *memberSet) waitsFor(code session.SetupCode) bool {
	for _, c := range m.codes(code.Discriminator()) {
		if c == code {
			return true
		}
	}
	return false
}

// dropCodes forgets all codes that have waited until now, and says how many.
func (m *memberSet) dropCodes(now time.Time) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.code)
	m.dropCode(func(e enteredCode) bool { return !now.Before(e.until) })
	return n - len(m.code)
}

// dropAllCodes forgets every code, and says how many.
func (m *memberSet) dropAllCodes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.code)
	m.dropCode(func(enteredCode) bool { return true })
	return n
}

// dropCode forgets the codes that gone says; the caller holds the lock.
func (m *memberSet) dropCode(gone func(enteredCode) bool) {
	keep := m.code[:0]
	for _, e := range m.code {
		if !gone(e) {
			keep = append(keep, e)
		}
	}
	clear(m.code[len(keep):])
	m.code = keep
}

// codes are those that wait for a device with this discriminator.
func (m *memberSet) codes(discriminator uint16) (l []session.SetupCode) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.code {
		if e.code.Discriminator() == discriminator && now.Before(e.until) {
			l = append(l, e.code)
		}
	}
	return l
}

// codesWait is how many codes await their devices.
func (m *memberSet) codesWait() (n int) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.code {
		if now.Before(e.until) {
			n++
		}
	}
	return n
}
