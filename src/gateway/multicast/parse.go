package multicast

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// VIF is one virtual interface of the multicast router (net/ipv4/ipmr.c,
// ipmr_vif_seq_show).
type VIF struct {
	Index  int
	Device string
}

// Route is one entry of the forwarding cache (ipmr_mfc_seq_show).
type Route struct {
	Group   netip.Addr
	Origin  netip.Addr
	In      int // index of a VIF; -1: no route was set, the packets wait
	Packets uint64
	Out     []int // indices of VIFs
}

// Flowing says that packets really go from one interface to others.
func (r Route) Flowing() bool { return r.In >= 0 && len(r.Out) > 0 && r.Packets > 0 }

// The kernel has 32 virtual interfaces; its tables of routes and memberships
// have no bound, ours do.
const (
	maxVIFs  = 32
	maxLines = 16384
	maxBytes = 4 << 20
)

// ParseVIFs reads ip_mr_vif.
func ParseVIFs(r io.Reader) ([]VIF, error) {
	var out []VIF
	err := lines(r, func(n int, l string) error {
		f := strings.Fields(l)
		if n == 1 {
			return header(f, "Interface")
		}
		if len(f) < 9 {
			return fmt.Errorf("%d fields, want 9", len(f))
		}
		i, err := strconv.ParseUint(f[0], 10, 8)
		if err != nil || i >= maxVIFs {
			return fmt.Errorf("index %.20q", f[0])
		}
		// "none" stands for a device that went away.
		if f[1] != "none" && len(out) < maxVIFs {
			out = append(out, VIF{Index: int(i), Device: f[1]})
		}
		return nil
	})
	return out, err
}

// ParseRoutes reads ip_mr_cache.
func ParseRoutes(r io.Reader) ([]Route, error) {
	var out []Route
	err := lines(r, func(n int, l string) error {
		f := strings.Fields(l)
		if n == 1 {
			return header(f, "Group")
		}
		if len(f) < 6 {
			return fmt.Errorf("%d fields, want 6", len(f))
		}
		var e Route
		var err error
		if e.Group, err = hexAddr(f[0]); err != nil {
			return err
		}
		if e.Origin, err = hexAddr(f[1]); err != nil {
			return err
		}
		in, err := strconv.ParseInt(f[2], 10, 16)
		if err != nil {
			return fmt.Errorf("incoming interface %.20q", f[2])
		}
		e.In = int(in)
		if e.Packets, err = strconv.ParseUint(f[3], 10, 64); err != nil {
			return fmt.Errorf("packet count %.20q", f[3])
		}
		// "n:ttl", and a blank after the colon-less digits: "%2d:%-3d".
		for _, o := range f[6:] {
			vif, _, ok := strings.Cut(o, ":")
			i, err := strconv.ParseUint(vif, 10, 8)
			if !ok || err != nil || i >= maxVIFs {
				return fmt.Errorf("outgoing interface %.20q", o)
			}
			if len(e.Out) < maxVIFs {
				e.Out = append(e.Out, int(i))
			}
		}
		out = append(out, e)
		return nil
	})
	return out, err
}

// ParseMemberships reads /proc/net/igmp.
func ParseMemberships(r io.Reader) (map[string][]netip.Addr, error) {
	out := map[string][]netip.Addr{}
	device := ""
	err := lines(r, func(n int, l string) error {
		f := strings.Fields(l)
		if n == 1 {
			return header(f, "Idx")
		}
		if len(f) == 0 {
			return fmt.Errorf("empty line")
		}
		if l[0] != '\t' && l[0] != ' ' {
			// "%d\t%-10s: %5d %7s": a long name touches its colon.
			if len(f) < 3 {
				return fmt.Errorf("%d fields, want a device", len(f))
			}
			device = strings.TrimSuffix(f[1], ":")
			return nil
		}
		if device == "" {
			return fmt.Errorf("a group before any device")
		}
		g, err := hexAddr(f[0])
		if err != nil {
			return err
		}
		out[device] = append(out[device], g)
		return nil
	})
	return out, err
}

// lines gives each line to f, with its number. Past the bounds the rest is
// left out.
func lines(r io.Reader, f func(n int, line string) error) error {
	s := bufio.NewScanner(io.LimitReader(r, maxBytes))
	for n := 1; s.Scan() && n <= maxLines; n++ {
		if err := f(n, s.Text()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return s.Err()
}

func header(f []string, first string) error {
	if len(f) == 0 || f[0] != first {
		return fmt.Errorf("no heading %q", first)
	}
	return nil
}

// hexAddr reads an address that the kernel printed as a number: its bytes are
// in the machine's own order.
func hexAddr(s string) (netip.Addr, error) {
	v, err := strconv.ParseUint(s, 16, 32)
	if err != nil || len(s) != 8 {
		return netip.Addr{}, fmt.Errorf("address %.20q", s)
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(v))
	return netip.AddrFrom4(b), nil
}
