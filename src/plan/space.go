package plan

import (
	"encoding/binary"
	"net/netip"

	"homeconf/src/model"
)

// space is the LAN's IPv4 addresses, with a walk over those to give away.
type space struct {
	prefix      netip.Prefix // masked; invalid: there is no usable LAN
	gateway     netip.Addr
	first, last uint32 // hosts
	pool        model.AddressRange
	exclude     []netip.Prefix

	// The walk: away from the pool on its upper side, then on its lower side,
	// then through the pool itself from its end. It never goes back, so that
	// a plan for n devices takes n steps and one for each address in use.
	next  uint32
	stage int
	steps int
}

// walkLimit bounds the walk, however large the LAN and however much of it is
// excluded: a /16 is walked whole.
const walkLimit = 1 << 16

func newSpace(lan netip.Prefix, pool model.AddressRange, exclude []netip.Prefix) space {
	s := space{}
	gateway := lan.Addr().Unmap()
	if !lan.IsValid() || !gateway.Is4() || !lan.Addr().Is4() || lan.Bits() < 8 || lan.Bits() > 30 {
		return s
	}
	s.gateway, s.prefix = gateway, lan.Masked()
	network := number(s.prefix.Addr())
	s.first = network + 1
	s.last = network | (1<<(32-lan.Bits()) - 1) - 1
	if first, last := pool.First.Unmap(), pool.Last.Unmap(); first.Is4() && last.Is4() && first.Compare(last) <= 0 &&
		s.prefix.Contains(first) && s.prefix.Contains(last) {
		s.pool = model.AddressRange{First: first, Last: last}
	}
	for _, e := range exclude {
		if e.IsValid() && e.Addr().Is4() {
			s.exclude = append(s.exclude, e.Masked())
		}
	}
	if s.pool.First.IsValid() {
		s.next = number(s.pool.Last) + 1
	} else {
		// Without a pool the end of the subnet is where people put least.
		s.next, s.stage = s.last, 1
	}
	return s
}

func number(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }

func address(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// ok says whether the LAN has a subnet to give addresses from.
func (s *space) ok() bool { return s.prefix.IsValid() }

// unfit says why homeconf gives an address to no device, or nothing.
func (s *space) unfit(a netip.Addr) string {
	if why := s.impossible(a); why != "" {
		return why
	}
	for _, e := range s.exclude {
		if e.Contains(a) {
			return "the owner keeps it free"
		}
	}
	return ""
}

// impossible says why an address can never be a device's, or nothing.
func (s *space) impossible(a netip.Addr) string {
	switch {
	case !a.Is4() || !s.prefix.Contains(a):
		return "it is not in the home network " + s.prefix.String()
	case a == s.gateway:
		return "it is the gateway's own address"
	case number(a) < s.first || number(a) > s.last:
		return "it is no host's address in " + s.prefix.String()
	}
	return ""
}

// inPool says whether DHCP gives the address to anybody who asks.
func (s *space) inPool(a netip.Addr) bool { return s.pool.Contains(a) }

// walk calls take with fit addresses until it says yes, and goes on from there
// the next time. The order is the address nearest to the pool, above it and
// then below it: far from the low ones that people give out by hand to devices
// which may be off just now. Addresses in the pool come last; a reservation
// there is safe, for the DHCP server gives it to nobody else.
func (s *space) walk(take func(netip.Addr) bool) (netip.Addr, bool) {
	for s.ok() && s.steps < walkLimit && s.stage < 3 {
		if s.next < s.first || s.next > s.last || s.stage == 2 && !s.inPool(address(s.next)) {
			s.turn()
			continue
		}
		a := address(s.next)
		s.steps++
		if s.stage == 0 {
			s.next++
		} else {
			s.next--
		}
		if s.unfit(a) == "" && take(a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// turn goes to the next stretch of the walk.
func (s *space) turn() {
	s.stage++
	switch {
	case !s.pool.First.IsValid():
		s.stage = 3
	case s.stage == 1:
		s.next = number(s.pool.First) - 1
	case s.stage == 2:
		s.next = number(s.pool.Last)
	}
}
