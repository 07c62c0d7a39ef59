package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"homeconf/src/uci"
)

func nativeUint32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// network is what the daemons need to know of a network.
type network struct {
	device   string
	prefixes []netip.Prefix
}

// networks reads the interface sections of the package network.
func networks(f *uci.File) map[string]network {
	out := make(map[string]network)
	for _, s := range f.Sections("interface") {
		var n network
		if typ, _ := s.Get("type"); typ == "bridge" { // 19.07
			n.device = "br-" + s.Name()
		} else if v, ok := s.Get("device"); ok {
			n.device = v
		} else if v, ok := s.Get("ifname"); ok {
			n.device, _, _ = strings.Cut(v, " ")
		}
		mask, _ := s.Get("netmask")
		for _, v := range s.List("ipaddr") {
			if !strings.Contains(v, "/") {
				v += "/" + strconv.Itoa(maskBits(mask))
			}
			if p, err := netip.ParsePrefix(v); err == nil && p.Addr().Is4() {
				n.prefixes = append(n.prefixes, p)
			}
		}
		out[s.Name()] = n
	}
	return out
}

// maskBits counts a netmask's ones; netifd takes 32 when there is no mask.
func maskBits(mask string) int {
	a, err := netip.ParseAddr(mask)
	if err != nil || !a.Is4() {
		return 32
	}
	b := a.As4()
	ones := 0
	for v := binary.BigEndian.Uint32(b[:]); v&(1<<31) != 0; v <<= 1 {
		ones++
	}
	return ones
}

// conf gathers the lines of a configuration file.
type conf struct {
	lines []string
	log   func(string, ...any)
}

// add adds a line, unless a value would end it, which a UCI value may.
func (c *conf) add(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if strings.ContainsFunc(line, unicode.IsControl) {
		c.log("not rendered: %q", line)
		return
	}
	c.lines = append(c.lines, line)
}

func (c *conf) bytes() []byte { return []byte(strings.Join(c.lines, "\n") + "\n") }

// on says whether an option is set to a true value.
func on(s *uci.Section, option string, normally bool) bool {
	v, ok := s.Get(option)
	if !ok {
		return normally
	}
	return slices.Contains([]string{"1", "yes", "on", "true", "enabled"}, v)
}

// renderDnsmasq does what OpenWrt's /etc/init.d/dnsmasq does with the package
// dhcp.
func renderDnsmasq(load func(string) (*uci.File, error), log func(string, ...any)) ([]byte, error) {
	dhcp, err := load("dhcp")
	if err != nil {
		return nil, err
	}
	file, err := load("network")
	if err != nil {
		return nil, err
	}
	servers := dhcp.Sections("dnsmasq")
	if len(servers) == 0 {
		return nil, nil
	}
	s := servers[0]
	c := &conf{log: log}
	// It stays root: a change of user would undo the signal that it gets when
	// its supervisor dies.
	for _, v := range []string{"user=root", "group=root", "pid-file=", "log-facility=-", "log-dhcp", "no-hosts", "no-resolv", "bind-dynamic"} {
		c.add("%s", v)
	}
	for option, line := range map[string]string{
		"domainneeded": "domain-needed", "boguspriv": "bogus-priv", "expandhosts": "expand-hosts",
		"authoritative": "dhcp-authoritative", "noping": "no-ping", "localise_queries": "localise-queries",
		"rebind_protection": "stop-dns-rebind",
	} {
		if on(s, option, false) {
			c.add("%s", line)
		}
	}
	slices.Sort(c.lines)
	for option, line := range map[string]string{"domain": "domain", "local": "local", "leasefile": "dhcp-leasefile", "cachesize": "cache-size"} {
		if v, ok := s.Get(option); ok {
			c.add("%s=%s", line, v)
		}
	}
	slices.Sort(c.lines)
	nets := networks(file)
	for _, p := range dhcp.Sections("dhcp") {
		renderPool(c, p, nets)
	}
	for _, h := range dhcp.Sections("host") {
		renderHost(c, h)
	}
	return c.bytes(), nil
}

// renderPool renders a dhcp section: the addresses given to one network.
func renderPool(c *conf, p *uci.Section, nets map[string]network) {
	name, _ := p.Get("interface")
	n, ok := nets[name]
	if !ok || n.device == "" {
		c.log("network %q has no device", name)
		return
	}
	if on(p, "ignore", false) {
		c.add("no-dhcp-interface=%s", n.device)
		return
	}
	c.add("interface=%s", n.device)
	if v, _ := p.Get("dhcpv4"); v == "disabled" || len(n.prefixes) == 0 {
		return
	}
	prefix := n.prefixes[0]
	base := prefix.Masked().Addr().As4()
	at := func(n int) netip.Addr {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(base[:])+uint32(n))
		return netip.AddrFrom4(b)
	}
	start, limit, size := number(p, "start", 100), number(p, "limit", 150), 1<<(32-prefix.Bits())
	if limit <= 0 || start <= 0 || start >= size-1 {
		c.log("pool %s of network %q is empty", prefix, name)
		return
	}
	lease, ok := p.Get("leasetime")
	if !ok {
		lease = "12h"
	}
	var mask [4]byte
	binary.BigEndian.PutUint32(mask[:], ^uint32(size-1))
	c.add("dhcp-range=set:%s,%s,%s,%s,%s", name, at(start), at(min(start+limit-1, size-2)), netip.AddrFrom4(mask), lease)
	for _, v := range p.List("dhcp_option") {
		c.add("dhcp-option=tag:%s,%s", name, v)
	}
}

func number(s *uci.Section, option string, normally int) int {
	v, ok := s.Get(option)
	if !ok {
		return normally
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return normally
	}
	return n
}

// renderHost renders a host section. As on OpenWrt nothing is checked: what
// dnsmasq refuses keeps it from starting.
func renderHost(c *conf, h *uci.Section) {
	if !on(h, "enable", true) {
		return
	}
	var parts []string
	for _, v := range h.List("mac") {
		parts = append(parts, strings.Fields(v)...)
	}
	if duid, ok := h.Get("duid"); ok && len(parts) == 0 {
		parts = append(parts, "id:"+duid)
	}
	if len(parts) == 0 {
		return
	}
	for _, tag := range h.List("tag") {
		parts = append(parts, "set:"+tag)
	}
	for _, option := range []string{"ip", "name", "leasetime"} {
		if v, ok := h.Get(option); ok {
			parts = append(parts, v)
		}
	}
	c.add("dhcp-host=%s", strings.Join(parts, ","))
}

// renderIGMPProxy does what OpenWrt's /etc/init.d/igmpproxy does. It runs with
// one way in and one out, or not at all.
func renderIGMPProxy(load func(string) (*uci.File, error), log func(string, ...any)) ([]byte, error) {
	proxy, err := missing(load("igmpproxy"))
	if err != nil || proxy == nil {
		return nil, err
	}
	file, err := load("network")
	if err != nil {
		return nil, err
	}
	nets := networks(file)
	c := &conf{log: log}
	if s := proxy.Sections("igmpproxy"); len(s) > 0 && on(s[0], "quickleave", false) {
		c.add("quickleave")
	}
	ways := make(map[string]int)
	for _, p := range proxy.Sections("phyint") {
		name, _ := p.Get("network")
		direction, _ := p.Get("direction")
		n, ok := nets[name]
		if !ok || n.device == "" {
			log("network %q has no device", name)
			continue
		}
		ways[direction]++
		c.add("phyint %s %s ratelimit 0 threshold 1", n.device, direction)
		for _, v := range p.List("altnet") {
			for _, w := range strings.Fields(v) {
				c.add(" altnet %s", w)
			}
		}
	}
	if len(ways) == 0 {
		return nil, nil
	}
	if ways["upstream"] != 1 || ways["downstream"] == 0 {
		return nil, errors.New("igmpproxy needs one upstream and a downstream")
	}
	return c.bytes(), nil
}
