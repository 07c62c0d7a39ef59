package lab

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The world's addresses.
const (
	Bridge = "br-lan"
	WAN    = "wan"
	// BridgeMAC is the gateway's address on the LAN.
	BridgeMAC = "02:68:63:01:00:01"
)

var (
	// GatewayLAN is the gateway's address and subnet at home.
	GatewayLAN = netip.MustParsePrefix("192.168.1.1/24")
	// GatewayWAN and Provider are the two ends of the line.
	GatewayWAN = netip.MustParsePrefix("203.0.113.2/30")
	Provider   = netip.MustParsePrefix("203.0.113.1/30")
	// Outside is a host on the internet, which is at the provider's.
	Outside = netip.MustParsePrefix("198.51.100.1/32")
)

// MAC reads an address in the usual form; a wrong one is none.
func MAC(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		return nil
	}
	return m
}

// GatewayOptions say how the world differs from the normal one.
type GatewayOptions struct {
	// NoPing keeps dnsmasq from pinging an address for 3 s before it offers
	// it. OpenWrt's default, and so the zero value, is to ping.
	NoPing bool
	// IGMPProxy is the content of UCI's igmpproxy: nothing, an empty file or
	// one that is in use.
	IGMPProxy IGMPProxy
	// SQM is the kilobits a second that UCI's sqm shapes the WAN to, down and
	// up; zeros: there is no such file.
	SQM [2]int
	// Offloading turns on flow_offloading in UCI's firewall.
	Offloading bool
	// Snooping turns on the bridge's IGMP snooping.
	Snooping bool
	// Config are more UCI files, or others in place of the normal ones.
	Config map[string]string
}

// IGMPProxy says what UCI's igmpproxy holds.
type IGMPProxy int

// A world without igmpproxy, with an empty file, and with one in use.
const (
	NoProxy IGMPProxy = iota
	EmptyProxy
	RunningProxy
)

// World is a home: a provider, a gateway and boxes.
type World struct {
	Lab     *Lab
	ISP, GW *Host

	// ConfigDir, StateDir and RunDir are what homeconf gets as --config-dir,
	// --state-dir and --run-dir.
	ConfigDir, StateDir, RunDir string
	// Leases is dnsmasq's lease file.
	Leases string
	// Supervisor is the process that restarts the daemons.
	Supervisor *Process

	work string // the supervisor's folder
}

// worldTime is how long a world may take to come up; it takes 0.3 s here.
const worldTime = 20 * time.Second

// Gateway makes the normal world in a lab, with the daemons running.
func Gateway(l *Lab, o GatewayOptions) (*World, error) {
	w := &World{Lab: l}
	if err := w.build(o); err != nil {
		return nil, fmt.Errorf("make the gateway's world: %w", err)
	}
	return w, nil
}

func (w *World) build(o GatewayOptions) error {
	var err error
	if w.ISP, err = w.Lab.Host("isp"); err != nil {
		return err
	}
	if w.GW, err = w.Lab.Host("gw"); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return w.Lab.Connect(w.ISP, "home", w.GW, WAN) },
		w.buildISP,
		func() error { return w.buildGW(o) },
		func() error { return w.writeConfig(o) },
		w.supervise,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), worldTime)
	defer cancel()
	err = w.WaitServed(ctx)
	if err == nil && o.IGMPProxy == RunningProxy {
		err = w.WaitProxy(ctx)
	}
	return err
}

func (w *World) buildISP() error {
	return steps(w.ISP,
		"link set home up",
		"addr add "+Provider.String()+" dev home",
		"addr add "+Outside.String()+" dev lo",
	)
}

func (w *World) buildGW(o GatewayOptions) error {
	if err := w.GW.Sysctl(map[string]string{
		"net/ipv4/ip_forward": "1",
		// Streams come from senders that no route leads to.
		"net/ipv4/conf/all/rp_filter":     "0",
		"net/ipv4/conf/default/rp_filter": "0",
		"net/ipv4/conf/wan/rp_filter":     "0",
	}); err != nil {
		return err
	}
	if err := w.GW.Bridge(Bridge, BridgeMAC); err != nil {
		return err
	}
	if err := steps(w.GW,
		"addr add "+GatewayLAN.String()+" brd + dev "+Bridge,
		"link set "+WAN+" up",
		"addr add "+GatewayWAN.String()+" dev "+WAN,
		"route add default via "+Provider.Addr().String(),
	); err != nil {
		return err
	}
	if o.Snooping {
		if err := w.GW.IP("link", "set", Bridge, "type", "bridge", "mcast_snooping", "1"); err != nil {
			return err
		}
	}
	return w.firewall()
}

// firewall is NAT and a firewall that lets streams in, as OpenWrt's rules for
// igmpproxy do.
func (w *World) firewall() error {
	rules := filepath.Join(w.GW.Dir, "firewall.rules")
	err := os.WriteFile(rules, []byte(`*nat
-A POSTROUTING -o wan -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i br-lan -j ACCEPT
-A FORWARD -i wan -p udp -d 224.0.0.0/4 -j ACCEPT
COMMIT
`), 0o644)
	if err == nil {
		_, err = w.GW.Run(context.Background(), "iptables-restore", "-w", "5", rules)
	}
	return err
}

// supervise starts the supervisor.
func (w *World) supervise() (err error) {
	w.work = filepath.Join(w.GW.Dir, "supervisor")
	if err := os.Mkdir(w.work, 0o755); err != nil {
		return err
	}
	w.Supervisor, err = w.GW.startRole(roleSupervisor, w.ConfigDir, w.work)
	return err
}

// RestartSupervisor kills the supervisor, and with it the daemons, and starts
// it anew, as a reboot does.
func (w *World) RestartSupervisor() error {
	w.Supervisor.Kill()
	var err error
	w.Supervisor, err = w.GW.startRole(roleSupervisor, w.ConfigDir, w.work)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), worldTime)
	defer cancel()
	return w.WaitServed(ctx)
}

// Starts counts how often the supervisor has started a daemon: "dnsmasq" or
// "igmpproxy". One more than the restarts.
func (w *World) Starts(daemon string) int {
	b, _ := os.ReadFile(filepath.Join(w.work, startsFile)) // not there: none
	n := 0
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) >= 2 && f[1] == daemon {
			n++
		}
	}
	return n
}

// Rendered is what the supervisor last wrote for a daemon: its configuration.
func (w *World) Rendered(daemon string) string {
	b, _ := os.ReadFile(filepath.Join(w.work, daemon+".conf")) // not there: nothing
	return string(b)
}

// Log is what a daemon has printed since the world began.
func (w *World) Log(daemon string) string {
	b, _ := os.ReadFile(filepath.Join(w.work, daemon+".log")) // not there: nothing
	return string(b)
}

// WaitServed waits until dnsmasq answers DHCP, and so has its configuration.
func (w *World) WaitServed(ctx context.Context) error {
	return w.wait(ctx, "dnsmasq listens for DHCP", func() bool {
		b, err := w.GW.Proc("net/udp")
		return err == nil && strings.Contains(b, ":0043 00000000:0000 ")
	})
}

// WaitProxy waits until igmpproxy has its interfaces and hears reports. One that
// a player sent before is only repeated when igmpproxy asks, within 10 s.
func (w *World) WaitProxy(ctx context.Context) error {
	return w.wait(ctx, "igmpproxy has its interfaces", func() bool {
		vifs, err := w.GW.Proc("net/ip_mr_vif")
		// All routers hear what hosts report to 224.0.0.2: igmpproxy joins that
		// group last of all. Its line gives the address in the host's order.
		groups, err2 := w.GW.Proc("net/igmp")
		return err == nil && err2 == nil && strings.Count(vifs, "\n") > 2 && strings.Contains(groups, allRouters)
	})
}

// allRouters is 224.0.0.2 as /proc/net/igmp prints it.
var allRouters = fmt.Sprintf("%08X", binary.NativeEndian.Uint32([]byte{224, 0, 0, 2}))

// WaitStarts waits until a daemon has been started n times, and until the last
// one does its work.
func (w *World) WaitStarts(ctx context.Context, daemon string, n int) error {
	err := w.wait(ctx, fmt.Sprintf("%s is started %d times", daemon, n), func() bool { return w.Starts(daemon) >= n })
	switch {
	case err != nil:
		return err
	case daemon == "dnsmasq":
		return w.WaitServed(ctx)
	}
	return w.WaitProxy(ctx)
}

// wait waits for a condition, or for the supervisor's end.
func (w *World) wait(ctx context.Context, what string, true func() bool) error {
	for !true() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w: %s", what, ctx.Err(), tail(w.Supervisor.Output()))
		case <-w.Supervisor.Done():
			return fmt.Errorf("wait until %s: the supervisor ended: %v: %s", what, w.Supervisor.Wait(), tail(w.Supervisor.Output()))
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// Proc reads a file of /proc as the host sees it.
func (h *Host) Proc(name string) (out string, err error) {
	err = h.Do(func() error {
		b, err := os.ReadFile(filepath.Join("/proc/thread-self", name))
		out = string(b)
		return err
	})
	return out, err
}

// tail is the end of a text, for an error.
func tail(s string) string {
	const most = 2000
	return s[max(0, len(s)-most):]
}

// steps runs ip with several lines of words, until one fails.
func steps(h *Host, lines ...string) error {
	for _, line := range lines {
		if err := h.IP(strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

// Box is a device at home, with one interface, eth0.
type Box struct {
	*Host
	World *World
	MAC   net.HardwareAddr
	// Port is the gateway's end of the cable.
	Port string
}

// Plug makes a box that is joined to the bridge and still turned off: PlugIn
// does the rest. Its MAC address depends on its name alone.
func (w *World) Plug(name string) (*Box, error) {
	sum := sha256.Sum256([]byte(name))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return w.PlugMAC(name, mac)
}

// PlugMAC is Plug with a MAC address.
func (w *World) PlugMAC(name string, mac net.HardwareAddr) (*Box, error) {
	if len(mac) != 6 {
		return nil, errors.New("plug: want a MAC address of 6 bytes")
	}
	h, err := w.Lab.Host(name)
	if err != nil {
		return nil, fmt.Errorf("plug %s: %w", name, err)
	}
	// An interface's name has at most 15 characters.
	b := &Box{Host: h, World: w, MAC: mac, Port: fmt.Sprintf("p%x", []byte(mac))}
	err = w.Lab.Connect(h, "eth0", w.GW, b.Port)
	if err == nil {
		err = h.Sysctl(map[string]string{"net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/eth0/rp_filter": "0"})
	}
	if err == nil {
		err = h.IP("link", "set", "eth0", "address", mac.String())
	}
	if err == nil {
		err = w.GW.IP("link", "set", b.Port, "master", Bridge, "up")
	}
	if err != nil {
		return nil, fmt.Errorf("plug %s: %w", name, err)
	}
	return b, nil
}

// PlugIn sets the box's interface up: from now on frames pass, but the first
// one, which the bridge's port is not ready for.
func (b *Box) PlugIn() error { return b.IP("link", "set", "eth0", "up") }

// Unplug sets the box's interface down.
func (b *Box) Unplug() error { return b.IP("link", "set", "eth0", "down") }
