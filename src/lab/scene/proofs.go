package scene

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"homeconf/src/lab"
)

// HasAddress proves by the kernel of the box that it has an address on the LAN,
// and no other.
func (b *Box) HasAddress(want netip.Addr) (string, error) {
	addrs, err := b.Addresses("eth0")
	if err != nil {
		return "", err
	}
	text := netip.PrefixFrom(want, lab.GatewayLAN.Bits()).String()
	if !slices.Equal(addrs, []string{text}) {
		return "", fmt.Errorf("ip addr at %s shows %v, want %s alone", b.Name, addrs, text)
	}
	return text, nil
}

// HasNoAddress proves that the box has none yet.
func (b *Box) HasNoAddress() error {
	addrs, err := b.Addresses("eth0")
	if err == nil && len(addrs) > 0 {
		err = fmt.Errorf("%s has the addresses %v, and should have none yet", b.Name, addrs)
	}
	return err
}

// Offers proves by dnsmasq's own answer that it keeps an address for a box.
func (h *Home) Offers(ctx context.Context, b *lab.Box, want netip.Addr) error {
	offer, err := h.Offer(ctx, b.MAC)
	if err == nil && offer != want {
		err = fmt.Errorf("dnsmasq offers %v to %s, want %s", offer, b.MAC, want)
	}
	return err
}

// Marked proves by iptables that traffic to an address is marked, with one rule,
// and returns it.
func (h *Home) Marked(ctx context.Context, dst netip.Addr, dscp uint8) (string, error) {
	rules, err := h.GW.Run(ctx, "iptables", "-t", "mangle", "-S", "HOMECONF_MARK")
	if err != nil {
		return "", err
	}
	var found []string
	for line := range strings.Lines(rules) {
		if strings.Contains(line, "-d "+dst.String()+"/32") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	if len(found) != 1 || !strings.Contains(found[0], fmt.Sprintf("--set-dscp 0x%02x", dscp)) {
		return "", fmt.Errorf("%d marks for %s, want one of DSCP %d, among\n%s", len(found), dst, dscp, rules)
	}
	return found[0], nil
}

// ReachesOutside proves by ping that the box reaches the internet.
func (b *Box) ReachesOutside(ctx context.Context) error {
	if out, err := b.Run(ctx, "ping", "-c", "1", "-W", "1", lab.Outside.Addr().String()); err != nil {
		return fmt.Errorf("%s does not reach the outside: %w: %s", b.Name, err, out)
	}
	return nil
}
