package netlink

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"homeconf/src/system"
)

const (
	igmpLimit = 256 << 10
	maxGroups = 64
)

// parseIGMP reads the groups that one interface has joined from
// /proc/net/igmp, sorted, at most 64. The all-hosts group 224.0.0.1 is left
// out: every host is in it (RFC 1112, section 4).
func parseIGMP(b []byte, ifname string) ([]netip.Addr, error) {
	var out []netip.Addr
	in := false
	sc := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; sc.Scan(); n++ {
		line := sc.Text()
		f := strings.Fields(line)
		switch {
		case n == 1 || len(f) == 0:
			// The head line.
		case line[0] != '\t' && line[0] != ' ':
			if len(f) < 2 {
				return nil, fmt.Errorf("/proc/net/igmp, line %d: no interface", n)
			}
			in = strings.TrimSuffix(f[1], ":") == ifname
		case in:
			// The address as the kernel's 32-bit word in hex: in memory order
			// on a little-endian machine, in network order on a big-endian one.
			raw, err := hex.DecodeString(f[0])
			if err != nil || len(raw) != 4 {
				return nil, fmt.Errorf("/proc/net/igmp, line %d: group %.20q: want eight hex digits", n, f[0])
			}
			var a [4]byte
			binary.NativeEndian.PutUint32(a[:], binary.BigEndian.Uint32(raw))
			g := netip.AddrFrom4(a)
			if g.IsMulticast() && g != netip.AddrFrom4([4]byte{224, 0, 0, 1}) && !slices.Contains(out, g) && len(out) < maxGroups {
				out = append(out, g)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Less(out[j]) })
	return out, sc.Err()
}

func (d *Device) groups() ([]netip.Addr, error) {
	b, err := system.ReadFile(filepath.Join(d.c.Proc, "net/igmp"), igmpLimit)
	if err != nil {
		return nil, err
	}
	return parseIGMP(b, d.c.Interface)
}
