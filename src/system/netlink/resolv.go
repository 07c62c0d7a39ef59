package netlink

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"homeconf/src/system"
	"homeconf/src/uci"
)

const (
	resolvLimit   = 64 << 10
	maxNameServer = 8
)

// parseResolvConf reads the name servers of a resolv.conf(5), at most eight.
func parseResolvConf(b []byte) []netip.Addr {
	var out []netip.Addr
	for line := range bytes.Lines(b) {
		if a, ok := nameServer(line); ok && len(out) < maxNameServer && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// nameServer reads a line "nameserver ADDRESS"; the keyword must begin the
// line, as resolv.conf(5) says.
func nameServer(line []byte) (netip.Addr, bool) {
	f := strings.Fields(string(line))
	if len(f) < 2 || f[0] != "nameserver" || !bytes.HasPrefix(line, []byte("nameserver")) {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(f[1])
	return a, err == nil
}

// editResolvConf puts name servers in the place of the IPv4 ones there, and
// leaves every other line as it is, IPv6 name servers too.
func editResolvConf(b []byte, dns []netip.Addr) []byte {
	var out bytes.Buffer
	put := func() {
		for _, a := range dns {
			fmt.Fprintf(&out, "nameserver %s\n", a)
		}
		dns = nil
	}
	want := slices.Clone(dns)
	for line := range bytes.Lines(b) {
		if a, ok := nameServer(line); ok {
			put()
			if a.Is4() || slices.Contains(want, a) {
				continue
			}
		}
		out.Write(line)
		if line[len(line)-1] != '\n' {
			out.WriteByte('\n')
		}
	}
	put()
	return out.Bytes()
}

func readResolvConf(path string) ([]netip.Addr, error) {
	b, err := system.ReadFile(path, resolvLimit)
	if err != nil {
		return nil, fmt.Errorf("reading name servers: %w", err)
	}
	return parseResolvConf(b), nil
}

// setDNS writes the name servers; none puts back those from before ours.
func (d *Device) setDNS(dns []netip.Addr) error {
	if d.c.ResolvConf == "" {
		return nil
	}
	b, err := system.ReadFile(d.c.ResolvConf, resolvLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading name servers: %w", err)
	}
	own := d.own.clone()
	switch {
	case len(dns) == 0 && len(own.DNS) == 0:
		return nil
	case len(dns) == 0:
		dns = own.DNSBefore
		own.DNS, own.DNSBefore = nil, nil
	case len(own.DNS) == 0:
		own.DNS, own.DNSBefore = dns, only4(parseResolvConf(b))
	default:
		own.DNS = dns
	}
	// Ours is noted before it is written, what was there is forgotten after.
	if len(own.DNS) > 0 {
		if err := d.writeLedger(own); err != nil {
			return err
		}
	}
	if edited := editResolvConf(b, dns); !bytes.Equal(edited, b) {
		if err := writeResolvConf(d.c.ResolvConf, edited); err != nil {
			return fmt.Errorf("writing name servers: %w", err)
		}
	}
	return d.writeLedger(own)
}

func only4(in []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(in), func(a netip.Addr) bool { return !a.Is4() })
}

// writeResolvConf writes the file whole where it can: behind a symlink, the
// file that it leads to. A bind mount (network namespaces, containers) can't be
// renamed over, and a folder may be read-only: then it is written in place.
func writeResolvConf(path string, data []byte) error {
	if real, err := uci.Follow(path); err == nil {
		path = real
	}
	mode := fs.FileMode(0o644)
	if st, err := os.Stat(path); err == nil {
		mode = st.Mode().Perm()
	}
	tmp := path + ".homeconf"
	err := os.WriteFile(tmp, data, mode)
	if err == nil {
		err = os.Chmod(tmp, mode)
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		return nil
	}
	_ = os.Remove(tmp)
	return os.WriteFile(path, data, mode)
}
