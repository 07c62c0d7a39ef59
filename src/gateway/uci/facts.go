package uci

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"homeconf/src/model"
	file "homeconf/src/uci"
)

// Network is one interface section of the network package.
type Network struct {
	Name     string
	Device   string // the Linux device as the configuration has it
	Proto    string
	Prefixes []netip.Prefix
}

// Networks lists the networks in a file.
func Networks(f *file.File) []Network {
	if f == nil {
		return nil
	}
	var out []Network
	for _, s := range f.Sections("interface") {
		n := Network{Name: s.Name()}
		n.Proto, _ = s.Get("proto")
		n.Device = device(s)
		// 25.12: list ipaddr '192.168.1.1/24'; before: option ipaddr and netmask.
		mask := 32 // what netifd takes when there is none (proto.c)
		if v, ok := s.Get("netmask"); ok {
			mask = maskBits(v)
		}
		for _, v := range s.List("ipaddr") {
			for _, w := range strings.Fields(v) {
				if p, err := netip.ParsePrefix(w); err == nil && p.Addr().Is4() {
					n.Prefixes = append(n.Prefixes, p)
				} else if a, err := netip.ParseAddr(w); err == nil && a.Is4() && mask >= 0 {
					n.Prefixes = append(n.Prefixes, netip.PrefixFrom(a, mask))
				}
			}
		}
		out = append(out, n)
	}
	return out
}

func device(s *file.Section) string {
	if typ, _ := s.Get("type"); typ == "bridge" {
		return "br-" + s.Name() // 19.07
	}
	for _, option := range []string{"device", "ifname"} {
		if v, ok := s.Get(option); ok {
			if f := strings.Fields(v); len(f) > 0 {
				return f[0]
			}
		}
	}
	return ""
}

func maskBits(s string) int {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n <= 32 {
		return n
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return -1
	}
	b := a.As4()
	ones, bits := net.IPMask(b[:]).Size()
	if bits == 0 {
		return -1
	}
	return ones
}

// Pool is the range that the DHCP server gives to a network, as OpenWrt's init
// script computes it: start counts from the network's address, and what lies
// beyond the last host address is left out.
func Pool(f *file.File, network string, lan netip.Prefix) model.AddressRange {
	if f == nil || !lan.IsValid() || !lan.Addr().Is4() {
		return model.AddressRange{}
	}
	for _, s := range f.Sections("dhcp") {
		if v, _ := s.Get("interface"); v != network {
			continue
		}
		if boolean(s, "ignore", false) || !boolean(s, "dhcpv4", true) {
			return model.AddressRange{}
		}
		start, limit := number(s, "start", 100), number(s, "limit", 150)
		size := uint64(1) << (32 - lan.Bits())
		if limit == 0 || start+1 >= size {
			return model.AddressRange{}
		}
		end := min(start+limit-1, size-2)
		return model.AddressRange{First: offset(lan, start), Last: offset(lan, end)}
	}
	return model.AddressRange{}
}

func offset(p netip.Prefix, n uint64) netip.Addr {
	b := p.Masked().Addr().As4()
	v := uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
	v += n
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

func number(s *file.Section, option string, normally uint64) uint64 {
	v, ok := s.Get(option)
	if !ok {
		return normally
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return normally
	}
	return n
}

// LeaseFile is where the DHCP server keeps its leases.
func LeaseFile(f *file.File) string {
	if f != nil {
		for _, s := range f.Sections("dnsmasq") {
			if v, ok := s.Get("leasefile"); ok {
				return v
			}
		}
	}
	return "/tmp/dhcp.leases"
}

// Queue is the shaper that sqm is told to make for one of the names (a device
// or a network), with its rates in kbit/s.
func Queue(f *file.File, names ...string) (down, up uint64, found bool) {
	if f == nil {
		return 0, 0, false
	}
	for _, s := range f.Sections("queue") {
		v, _ := s.Get("interface")
		if v == "" || !slices.Contains(names, v) || !boolean(s, "enabled", false) {
			continue
		}
		return number(s, "download", 0), number(s, "upload", 0), true
	}
	return 0, 0, false
}

// Offloading says whether the firewall lets flows skip the mangle chains.
func Offloading(f *file.File) bool {
	if f != nil {
		for _, s := range f.Sections("defaults") {
			if boolean(s, "flow_offloading", false) || boolean(s, "flow_offloading_hw", false) {
				return true
			}
		}
	}
	return false
}

// Zone is the firewall zone that a network is in; without one, its own name.
func Zone(f *file.File, network string) string {
	if f != nil {
		for _, s := range f.Sections("zone") {
			name, _ := s.Get("name")
			for _, v := range s.List("network") {
				if name != "" && slices.Contains(strings.Fields(v), network) {
					return name
				}
			}
		}
	}
	return network
}
