package gateway

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"homeconf/src/model"
	"homeconf/src/rtnetlink"
)

// listeners are the ports at which programs of the gateway's own listen on every
// address, or on the outside's.
func (r *Router) listeners(ctx context.Context) ([]model.Port, error) {
	n, links, err := r.outside(ctx)
	if err != nil {
		return nil, err
	}
	var own []netip.Addr
	if l := findLink(links, n.WAN.Device); l != nil {
		addrs, err := (*rtnetlink.Socket)(nil).Addresses(l.Attrs().Index)
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", n.WAN.Device, err)
		}
		for _, a := range addrs {
			own = append(own, a.Prefix.Addr())
		}
	}
	var out []model.Port
	for _, s := range []struct {
		file     string
		protocol model.Protocol
		state    string // of a socket that takes what comes
	}{{"tcp", model.TCP, "0A"}, {"tcp6", model.TCP, "0A"}, {"udp", model.UDP, "07"}, {"udp6", model.UDP, "07"}} {
		b, err := readSome(filepath.Join(r.cfg.Proc, "self", "net", s.file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6 here
		}
		if err != nil {
			return nil, err
		}
		for _, p := range parseSockets(string(b), s.state, own) {
			out = append(out, model.Port{Protocol: s.protocol, Number: p})
		}
	}
	return out, nil
}

// parseSockets reads the kernel's list of sockets: local address and port in
// hexadecimal, the address as the processor has it in words of 32 bits.
func parseSockets(list, state string, own []netip.Addr) []uint16 {
	var out []uint16
	for l := range strings.Lines(list) {
		f := strings.Fields(l)
		if len(f) < 4 || f[3] != state {
			continue
		}
		addr, port, _ := strings.Cut(f[1], ":")
		n, err := strconv.ParseUint(port, 16, 16)
		raw, err2 := hex.DecodeString(addr)
		if err != nil || err2 != nil || n == 0 || len(raw) != 4 && len(raw) != 16 {
			continue
		}
		for i := 0; i < len(raw); i += 4 {
			binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
		}
		a, _ := netip.AddrFromSlice(raw)
		if a = a.Unmap(); a.IsUnspecified() || slices.Contains(own, a) {
			out = append(out, uint16(n))
		}
	}
	return out
}

// parseUPnP reads what miniupnpd has mapped: "TCP:8080:192.168.1.5:80:…" a line.
func parseUPnP(leases string) []model.Occupied {
	var out []model.Occupied
	for l := range strings.Lines(leases) {
		f := strings.SplitN(strings.TrimSpace(l), ":", 4)
		if len(f) < 3 || len(out) >= maxLoaded {
			continue
		}
		n, err := strconv.ParseUint(f[1], 10, 16)
		p := model.Port{Protocol: model.Protocol(strings.ToLower(f[0])), Number: uint16(n)}
		if err == nil && p.Valid() {
			out = append(out, model.Occupied{Protocol: p.Protocol, First: p.Number, Last: p.Number, By: "a mapping that " + printable(f[2]) + " made by UPnP"})
		}
	}
	return out
}

func printable(s string) string {
	if a := parseAddr(s); a.IsValid() {
		return a.String()
	}
	return "somebody"
}

func parseAddr(s string) netip.Addr { a, _ := netip.ParseAddr(s); return a }

// readSome reads a small file that others write.
func readSome(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would hold us up for ever
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxLeaseFile))
}
