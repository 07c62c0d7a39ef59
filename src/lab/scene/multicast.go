package scene

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"homeconf/src/lab"
)

// kernelHex is an address as /proc/net prints it: in the host's byte order.
func kernelHex(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b[:]))
}

// JoinedOnWAN proves by /proc/net/igmp that the gateway has asked the provider
// for a group, and returns the lines.
func (h *Home) JoinedOnWAN(group netip.Addr) (string, error) {
	text, err := h.GW.Proc("net/igmp")
	if err != nil {
		return "", err
	}
	device := ""
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) > 1 && line[0] != '\t' && line[0] != ' ': // Idx Device : Count Querier
			device = f[1]
		case len(f) > 0 && device == lab.WAN && f[0] == kernelHex(group):
			return device + ": " + f[0], nil
		}
	}
	return "", fmt.Errorf("%s (%s) is not on the WAN line of /proc/net/igmp:\n%s", group, kernelHex(group), text)
}

// Routed proves by /proc/net/ip_mr_cache that a stream passes from the WAN to
// the LAN, and returns the entry.
func (h *Home) Routed(group netip.Addr) (string, error) {
	vifs, err := h.GW.Proc("net/ip_mr_vif")
	if err != nil {
		return "", err
	}
	device := map[string]string{}
	for line := range strings.Lines(vifs) {
		if f := strings.Fields(line); len(f) > 1 {
			device[f[0]] = f[1]
		}
	}
	cache, err := h.GW.Proc("net/ip_mr_cache")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(cache) {
		f := strings.Fields(line) // Group Origin Iif Pkts Bytes Wrong Oifs …
		if len(f) < 7 || f[0] != kernelHex(group) || device[f[2]] != lab.WAN {
			continue
		}
		packets, err := strconv.ParseUint(f[3], 10, 64)
		lan := slices.ContainsFunc(f[6:], func(out string) bool {
			n, _, _ := strings.Cut(out, ":")
			return device[n] == lab.Bridge
		})
		if err == nil && packets > 0 && lan {
			return fmt.Sprintf("%s from %s to %s, %d packets", group, lab.WAN, lab.Bridge, packets), nil
		}
	}
	return "", fmt.Errorf("no stream of %s (%s) from %s to %s in /proc/net/ip_mr_cache:\n%s%s", group, kernelHex(group), lab.WAN, lab.Bridge, cache, vifs)
}

// Channel is a stream at a box: its player counts what comes, and a capture
// keeps the frames as they were on the wire.
type Channel struct {
	Group   netip.AddrPort
	Joined  time.Time
	player  *lab.Receiver
	capture *lab.Capture
}

// Watch joins a channel at the box.
func (b *Box) Watch(group netip.AddrPort) (*Channel, error) {
	c, err := b.Capture("eth0", func(p lab.Packet) bool {
		_, dst, _, _, ok := p.IPv4()
		return ok && dst == group.Addr() && slices.Equal(p.Source(), lab.MAC(lab.BridgeMAC))
	})
	if err != nil {
		return nil, err
	}
	ch := &Channel{Group: group, Joined: time.Now(), capture: c}
	if ch.player, err = b.Receive("eth0", group); err != nil {
		c.Stop()
		return nil, err
	}
	return ch, nil
}

// Leave ends it. It may be called again.
func (c *Channel) Leave() {
	c.player.Leave()
	c.capture.Stop()
}

// Picture waits until the player has n packets more with a DSCP, and says how
// long after joining the first one came.
func (c *Channel) Picture(ctx context.Context, n uint64, dscp uint8) (time.Duration, error) {
	if err := c.player.Wait(ctx, n, int(dscp)); err != nil {
		return 0, fmt.Errorf("channel %s: %w (%d packets came, by DSCP %v)", c.Group, err, c.player.Received(), c.player.DSCP())
	}
	return c.player.First().Sub(c.Joined), nil
}

// Captured proves by n frames caught at the box that the DSCP field of the last
// ones is as wanted.
func (c *Channel) Captured(ctx context.Context, n int, dscp uint8) error {
	before := len(c.capture.Packets())
	if err := c.capture.Wait(ctx, before+n); err != nil {
		return err
	}
	for _, p := range c.capture.Packets()[before:] {
		if _, _, got, _, _ := p.IPv4(); got != dscp {
			return fmt.Errorf("a frame of %s at the box has DSCP %d, want %d", c.Group, got, dscp)
		}
	}
	return nil
}
