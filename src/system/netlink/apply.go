package netlink

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	nl "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"homeconf/src/model"
	"homeconf/src/system"
)

// address is an IPv4 address on the interface.
type address struct {
	prefix netip.Prefix
	finite bool // it has a lifetime: a DHCP client put it there
}

// Current implements system.Device. Of several addresses it tells ours, else
// the first that stays, else the first that is lent.
func (d *Device) Current(ctx context.Context) (model.Settings, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	link, err := d.link()
	if err != nil {
		return model.Settings{}, err
	}
	return d.current(link)
}

func (d *Device) current(link nl.Link) (model.Settings, error) {
	have, err := d.addresses(link)
	if err != nil || len(have) == 0 {
		return model.Settings{}, err
	}
	main, rank := have[0], -1
	for _, a := range have {
		r := 0
		switch {
		case d.own.isStatic(a.prefix.Addr()):
			r = 3
		case d.own.isLeased(a.prefix.Addr()):
			r = 1
		case !a.finite:
			r = 2
		}
		if r > rank {
			main, rank = a, r
		}
	}
	s := model.Settings{AddressingType: model.AddressingStatic, Address: main.prefix}
	if rank < 2 {
		s.AddressingType = model.AddressingDHCP
	}
	if s.Gateway, err = d.gateway(link); err != nil {
		return model.Settings{}, err
	}
	if d.c.ResolvConf != "" {
		// No such file is no name server.
		s.DNS, _ = readResolvConf(d.c.ResolvConf)
	}
	return s, nil
}

// Apply implements system.Device: the new is added before the old is taken away.
func (d *Device) Apply(ctx context.Context, s model.Settings) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	link, err := d.link()
	if err != nil {
		return err
	}
	now, err := d.current(link)
	if err != nil {
		return err
	}
	switch s.AddressingType {
	case model.AddressingStatic:
		err = d.applyStatic(link, now, s)
	case model.AddressingDHCP:
		err = d.applyDHCP(link, now)
	case model.AddressingUnknown:
		err = d.applyNothing(link)
	default:
		err = fmt.Errorf("addressing type %q can't be set", s.AddressingType)
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", d.c.Interface, err)
	}
	return nil
}

func (d *Device) applyStatic(link nl.Link, now, s model.Settings) error {
	if !s.Address.IsValid() || !s.Address.Addr().Is4() {
		return fmt.Errorf("address %v: want an IPv4 address and prefix length", s.Address)
	}
	own := d.own.clone()
	// A static address that was in force becomes ours before ours comes: a
	// crash in between leaves no address that nobody would take away.
	if now.AddressingType == model.AddressingStatic && !slices.Contains(own.Static, now.Address) {
		own.Static = append(own.Static, now.Address)
	}
	if !slices.Contains(own.Static, s.Address) {
		own.Static = append(own.Static, s.Address)
	}
	if err := d.writeLedger(own); err != nil {
		return err
	}
	if err := d.ensureStatic(link, s); err != nil {
		return err
	}
	if err := d.setDNS(s.DNS); err != nil {
		return err
	}
	for {
		removed, err := d.removeOthers(link, s.Address)
		if err != nil {
			return err
		}
		if !removed {
			break
		}
		// Taking a subnet's first address takes the others of that subnet
		// along (net.ipv4.conf.*.promote_secondaries is off by default).
		if err := d.ensureStatic(link, s); err != nil {
			return err
		}
	}
	own = d.own.clone()
	own.Static = []netip.Prefix{s.Address}
	return d.writeLedger(own)
}

// ensureStatic makes the address and the default route be there.
func (d *Device) ensureStatic(link nl.Link, s model.Settings) error {
	have, err := d.addresses(link)
	if err != nil {
		return err
	}
	if !slices.Contains(have, address{prefix: s.Address}) {
		if err := d.addAddress(link, s.Address, 0); err != nil {
			return err
		}
	}
	return d.setRoute(link, s.Gateway, s.Address.Addr(), routeProtocol)
}

// removeOthers takes away one address after the other that is not wanted and
// ours, or lent, and says whether there were any.
func (d *Device) removeOthers(link nl.Link, want netip.Prefix) (bool, error) {
	have, err := d.addresses(link)
	if err != nil {
		return false, err
	}
	removed := false
	for _, a := range have {
		ours := d.own.isLeased(a.prefix.Addr()) || slices.Contains(d.own.Static, a.prefix)
		if a.prefix == want || !ours && !a.finite {
			continue
		}
		if err := d.removeAddress(link, a.prefix.Addr(), a.prefix); err != nil {
			return false, err
		}
		removed = true
	}
	return removed, nil
}

func (d *Device) applyDHCP(link nl.Link, now model.Settings) error {
	own := d.own.clone()
	if now.AddressingType == model.AddressingStatic && !slices.Contains(own.Static, now.Address) {
		own.Static = append(own.Static, now.Address)
	}
	if err := d.writeLedger(own); err != nil {
		return err
	}
	have, err := d.addresses(link)
	if err != nil {
		return err
	}
	var lent netip.Prefix
	for _, a := range have {
		if d.own.isLeased(a.prefix.Addr()) || a.finite && !lent.IsValid() {
			lent = a.prefix
		}
	}
	if !lent.IsValid() && d.own.Lease == nil {
		return errors.New("no leased address to go over to")
	}
	for {
		if l := d.own.Lease; l != nil {
			lent = l.Address
			if err := d.useLease(link, *l, true); err != nil {
				return err
			}
		}
		removed := false
		have, err := d.addresses(link)
		if err != nil {
			return err
		}
		for _, a := range have {
			if a.prefix != lent && slices.Contains(d.own.Static, a.prefix) {
				if err := d.removeAddress(link, a.prefix.Addr(), a.prefix); err != nil {
					return err
				}
				removed = true
			}
		}
		if !removed {
			break
		}
	}
	if d.own.Lease == nil {
		// Another DHCP client's address: its route and name servers are its own.
		err = errors.Join(d.removeRoutes(link, func(r nl.Route) bool { return r.Protocol == routeProtocol }), d.setDNS(nil))
	}
	if err != nil {
		return err
	}
	own = d.own.clone()
	own.Static = nil
	return d.writeLedger(own)
}

func (d *Device) applyNothing(link nl.Link) error {
	have, err := d.addresses(link)
	if err != nil {
		return err
	}
	for _, a := range have {
		if d.own.isLeased(a.prefix.Addr()) || slices.Contains(d.own.Static, a.prefix) {
			err = errors.Join(err, d.removeAddress(link, a.prefix.Addr(), a.prefix))
		}
	}
	ours := func(r nl.Route) bool {
		return r.Protocol == routeProtocol || d.own.Lease != nil && r.Protocol == routeProtocolDHCP
	}
	if err := errors.Join(err, d.removeRoutes(link, ours), d.setDNS(nil)); err != nil {
		return err
	}
	own := d.own.clone()
	own.Static, own.Lease = nil, nil
	return d.writeLedger(own)
}

// Use implements system.Leaser.
func (d *Device) Use(ctx context.Context, l system.Lease) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	link, err := d.link()
	if err != nil {
		return err
	}
	own := d.own.clone()
	before := own.Lease
	own.Lease = &l
	if err := d.writeLedger(own); err != nil {
		return err
	}
	// A renewed or another lease takes the place of the one before.
	if before != nil && before.Address != l.Address && !d.own.isStatic(before.Address.Addr()) {
		if err := d.removeAddress(link, before.Address.Addr(), before.Address); err != nil {
			return err
		}
	}
	return d.useLease(link, l, len(d.own.Static) == 0)
}

// useLease puts a leased address there; the default route and the name servers
// too when nothing else rules them.
func (d *Device) useLease(link nl.Link, l system.Lease, rule bool) error {
	if !d.own.isStatic(l.Address.Addr()) || rule {
		if err := d.addAddress(link, l.Address, int(l.For.Seconds())); err != nil {
			return err
		}
	}
	if !rule {
		return nil
	}
	if err := d.setRoute(link, l.Gateway, l.Address.Addr(), routeProtocolDHCP); err != nil {
		return err
	}
	return d.setDNS(l.DNS)
}

// addresses lists the interface's IPv4 addresses, link-local ones (RFC 3927) left out.
func (d *Device) addresses(link nl.Link) ([]address, error) {
	list, err := d.s.Addresses(link.Attrs().Index)
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	var out []address
	for _, a := range list {
		if !usable(a.Prefix) || a.Prefix.Addr().IsLinkLocalUnicast() {
			continue
		}
		out = append(out, address{prefix: a.Prefix, finite: a.Flags&unix.IFA_F_PERMANENT == 0})
	}
	return out, nil
}

// usable says whether an address is one: a group that the kernel was told to join
// by way of an address (ip-address(8), autojoin) is none.
func usable(p netip.Prefix) bool { return p.Addr().Is4() && !p.Addr().IsMulticast() }

// addAddress adds an address, or changes the lifetime of the one that is
// there. Zero seconds: it stays.
func (d *Device) addAddress(link nl.Link, p netip.Prefix, seconds int) error {
	if err := d.s.ReplaceAddress(link.Attrs().Index, p, seconds); err != nil {
		return fmt.Errorf("adding address %s: %w", p, err)
	}
	return nil
}

// removeAddress takes an address away, with the given prefix or with any. One
// that is not there is no error.
func (d *Device) removeAddress(link nl.Link, a netip.Addr, prefixes ...netip.Prefix) error {
	if len(prefixes) == 0 {
		have, err := d.addresses(link)
		if err != nil {
			return err
		}
		for _, h := range have {
			if h.prefix.Addr() == a {
				prefixes = append(prefixes, h.prefix)
			}
		}
	}
	for _, p := range prefixes {
		if err := d.s.DeleteAddress(link.Attrs().Index, p); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("removing address %s: %w", p, err)
		}
	}
	return nil
}
