package uci

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	file "homeconf/src/uci"
)

// SetLAN gives a network a static IPv4 address in the form that stands there:
// list ipaddr with prefixes (25.12), or option ipaddr and netmask. An address
// never stands without its mask. Of several addresses the first is replaced.
func SetLAN(ctx context.Context, dir file.Dir, network string, address netip.Prefix) (Saved, error) {
	var saved Saved
	if !address.IsValid() || !address.Addr().Is4() || address.Bits() < 8 || address.Bits() > 30 {
		return saved, fmt.Errorf("%s is no IPv4 address of a home network", address)
	}
	err := edit(ctx, dir, "network", nil, func(f *file.File) error {
		s, ok := f.Section(network)
		if !ok || s.Type() != "interface" {
			return fmt.Errorf("/etc/config/network has no interface %q", network)
		}
		if proto, _ := s.Get("proto"); proto != "static" {
			return fmt.Errorf("network %q has protocol %.20q, not static", network, proto)
		}
		saved = save(f, func(o *file.Section) bool { return o.Name() == network && o.Type() == "interface" })
		have := s.List("ipaddr")
		i := slices.IndexFunc(s.Options(), func(o file.Option) bool { return o.Name == "ipaddr" })
		list := i >= 0 && s.Options()[i].IsList
		if !list && !strings.Contains(strings.Join(have, " "), "/") {
			bits := net.CIDRMask(address.Bits(), 32)
			if err := s.Set("netmask", net.IP(bits).String()); err != nil {
				return err
			}
			return s.Set("ipaddr", address.Addr().String())
		}
		if !list {
			return s.Set("ipaddr", address.String())
		}
		if _, masked := s.Get("netmask"); masked {
			// The others' mask may be that one; each gets its own.
			p := Networks(f)
			if n := slices.IndexFunc(p, func(n Network) bool { return n.Name == network }); n >= 0 && len(p[n].Prefixes) == len(have) {
				for i := range have {
					have[i] = p[n].Prefixes[i].String()
				}
			}
		}
		have[0] = address.String()
		return s.SetList("ipaddr", have)
	})
	return saved, err
}
