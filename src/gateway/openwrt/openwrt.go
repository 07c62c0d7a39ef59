// Package openwrt asks what OpenWrt's own daemons know of the gateway, and hears
// from them what changes, over ubus: netifd has the interfaces as they are,
// procd the services, dnsmasq and hostapd who comes and goes.
package openwrt

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"homeconf/src/ubus"
)

// callTime bounds a question. ubusd never says that an object's owner died.
const callTime = 3 * time.Second

// System is an OpenWrt that we are on.
type System struct{ Bus *ubus.Client }

// Interface is a network as netifd has it.
type Interface struct {
	Name     string // UCI's name: "lan"
	Device   string // the Linux device that its packets travel on: "pppoe-wan"
	Up       bool
	Prefixes []netip.Prefix // its IPv4 addresses
	Default  bool           // an IPv4 default route goes out there
}

// maxInterfaces bounds what is taken of an answer.
const maxInterfaces = 256

// Interfaces lists the networks.
func (s System) Interfaces(ctx context.Context) ([]Interface, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	t, err := s.Bus.Call(ctx, "network.interface", "dump", ubus.Table{})
	if err != nil {
		return nil, fmt.Errorf("ask netifd for its interfaces: %w", err)
	}
	return parseDump(t), nil
}

func parseDump(t ubus.Table) []Interface {
	var out []Interface
	for v := range t.Array("interface").All() {
		i, ok := v.Table()
		if !ok || i.Text("interface") == "" || len(out) == maxInterfaces {
			continue
		}
		n := Interface{Name: i.Text("interface"), Device: i.Text("l3_device"), Up: i.Bool("up")}
		if n.Device == "" { // while it is down there is only the device beneath
			n.Device = i.Text("device")
		}
		for v := range i.Array("ipv4-address").All() {
			a, _ := v.Table()
			addr, err := netip.ParseAddr(a.Text("address"))
			mask := a.Int("mask")
			if err == nil && addr.Is4() && mask >= 0 && mask <= 32 && len(n.Prefixes) < maxInterfaces {
				n.Prefixes = append(n.Prefixes, netip.PrefixFrom(addr, int(mask)))
			}
		}
		for v := range i.Array("route").All() {
			r, _ := v.Table()
			if r.Text("target") == "0.0.0.0" && r.Int("mask") == 0 {
				n.Default = true
			}
		}
		out = append(out, n)
	}
	return out
}

// Reload tells procd that a package was committed; who listens for that reloads.
func (s System) Reload(ctx context.Context, pkg string) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	args := new(ubus.Builder).String("type", "config.change").OpenTable("data").String("package", pkg).Close().Table()
	if _, err := s.Bus.Call(ctx, "service", "event", args); err != nil {
		return fmt.Errorf("tell procd that %s has changed: %w", pkg, err)
	}
	return nil
}

// services are those whose coming and going changes what the gateway does.
// The DHCP server is looked at after each write anyhow.
var services = map[string]bool{"firewall": true, "igmpproxy": true, "omcproxy": true, "sqm": true}

// Watch tells of what netifd and procd say has changed, until ctx ends. What was
// missed while ubusd was away is told as a change.
func (s System) Watch(ctx context.Context, changed func(what string)) error {
	l, err := s.Bus.Listen(ctx, "network.interface", func(string, ubus.Table) { changed("network") })
	if err != nil {
		return fmt.Errorf("listen to netifd: %w", err)
	}
	sub, err := s.Bus.Subscribe(ctx, "service", ubus.Subscriber{
		Notify: func(_, _ string, data ubus.Table) {
			if services[data.Text("service")] {
				changed("service " + data.Text("service"))
			}
		},
		Up: func(string) { changed("service") },
	})
	if err != nil {
		return errors.Join(fmt.Errorf("subscribe to procd: %w", err), l.Close(ctx))
	}
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
	defer cancel()
	sub.Close(end)
	l.Close(end)
	return nil
}
