package rtnetlink

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Address is an IPv4 address of a link.
type Address struct {
	Prefix netip.Prefix // of 32 bits where there is a peer
	Flags  uint32       // IFA_F_…
}

// Addresses lists the IPv4 addresses of a link.
func (s *Socket) Addresses(link int) ([]Address, error) {
	r := s.request(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	r.AddData(nl.NewIfInfomsg(unix.AF_INET))
	msgs, err := r.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
	if err != nil {
		return nil, err
	}
	var out []Address
	for _, m := range msgs {
		if len(m) < unix.SizeofIfAddrmsg {
			return nil, errors.New("an address message cut short")
		}
		msg := nl.DeserializeIfAddrmsg(m)
		if int(msg.Index) != link || msg.Family != unix.AF_INET {
			continue
		}
		a, err := parseAddress(msg, m[unix.SizeofIfAddrmsg:])
		if err != nil {
			return nil, err
		}
		if a.Prefix.IsValid() {
			out = append(out, a)
		}
	}
	return out, nil
}

func parseAddress(msg *nl.IfAddrmsg, b []byte) (Address, error) {
	a := Address{Flags: uint32(msg.Flags)}
	attrs, err := attributes(b)
	if err != nil {
		return a, err
	}
	var local, peer netip.Addr
	for _, x := range attrs {
		switch x.typ {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(x.value)
		case unix.IFA_ADDRESS:
			peer, _ = netip.AddrFromSlice(x.value)
		case unix.IFA_FLAGS: // all of them, of which the header has room for eight
			a.Flags = uint32(number(x.value))
		}
	}
	switch {
	case !local.IsValid(), local == peer:
		a.Prefix = netip.PrefixFrom(peer, int(msg.Prefixlen))
	default: // the prefix is the peer's
		a.Prefix = netip.PrefixFrom(local, local.BitLen())
	}
	return a, nil
}

// ReplaceAddress gives a link an address, or the one that is there another
// lifetime. Zero seconds: for ever.
func (s *Socket) ReplaceAddress(link int, p netip.Prefix, seconds int) error {
	return s.changeAddress(link, p, seconds, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
}

// DeleteAddress takes an address from a link.
func (s *Socket) DeleteAddress(link int, p netip.Prefix) error {
	return s.changeAddress(link, p, 0, unix.RTM_DELADDR, unix.NLM_F_ACK)
}

func (s *Socket) changeAddress(link int, p netip.Prefix, seconds, typ, flags int) error {
	if !p.IsValid() || !p.Addr().Is4() {
		return errors.New("no IPv4 address")
	}
	msg := nl.NewIfAddrmsg(unix.AF_INET)
	msg.Index, msg.Prefixlen = uint32(link), uint8(p.Bits())
	a := p.Addr().As4()
	req := s.request(typ, flags)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, a[:]))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, a[:]))
	if p.Bits() < 31 { // RFC 3021
		broadcast := p.Masked().Addr().As4()
		for i := p.Bits(); i < 32; i++ {
			broadcast[i/8] |= 0x80 >> (i % 8)
		}
		req.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast[:]))
	}
	if seconds > 0 { // 0 would say that it has expired
		life := nl.IfaCacheInfo{IfaCacheinfo: unix.IfaCacheinfo{Valid: uint32(seconds), Prefered: uint32(seconds)}}
		req.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, life.Serialize()))
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
