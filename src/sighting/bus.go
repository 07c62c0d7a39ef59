package sighting

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"homeconf/src/model"
	"homeconf/src/ubus"
)

// heard is what OpenWrt's daemons have told over ubus and not taken back: dnsmasq
// of leases, hostapd of stations. The kernel tells less of it, and later.
type heard struct {
	mu  sync.Mutex
	all map[heardKey]heardEvidence
}

// leaseTime is how long a lease that was told counts by itself: by then it is in
// the server's file, which also knows when it ends.
const leaseTime = 10 * time.Second

type heardEvidence struct {
	Evidence
	at time.Time
}

type heardKey struct {
	source Source
	mac    model.MAC
}

func (h *heard) evidence() []Evidence {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Evidence, 0, len(h.all))
	for k, e := range h.all {
		if e.Source == DHCP && time.Since(e.at) > leaseTime {
			delete(h.all, k)
			continue
		}
		out = append(out, e.Evidence)
	}
	return out
}

func (h *heard) put(e Evidence) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := heardKey{e.Source, e.MAC}
	if _, known := h.all[k]; !known && len(h.all) >= maxDevices {
		return // somebody makes MAC addresses up; what is known stays
	}
	h.all[k] = heardEvidence{e, time.Now()}
}

func (h *heard) drop(gone func(Evidence) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, e := range h.all {
		if gone(e.Evidence) {
			delete(h.all, k)
		}
	}
}

// watchBus subscribes to dnsmasq and to every hostapd, now and whenever one comes.
func watchBus(ctx context.Context, c Config, h *heard, poke func()) error {
	leases, err := c.Bus.Subscribe(ctx, "dnsmasq*", ubus.Subscriber{
		Notify: func(_, method string, data ubus.Table) {
			if h.lease(c.Device, method, data) {
				poke()
			}
		},
		// Its leases are in its file again.
		Down: func(string) { h.drop(func(e Evidence) bool { return e.Source == DHCP }); poke() },
	})
	if err != nil {
		return fmt.Errorf("subscribe to dnsmasq: %w", err)
	}
	const hostapd = "hostapd."
	stations, err := c.Bus.Subscribe(ctx, hostapd+"*", ubus.Subscriber{
		Notify: func(path, method string, data ubus.Table) {
			if h.station(strings.TrimPrefix(path, hostapd), method, data) {
				poke()
			}
		},
		Up: func(path string) {
			// Whoever came before us. Its own goroutine, for an answer must not
			// hold the notifications up.
			go func() {
				ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
				defer cancel()
				t, err := c.Bus.Call(ctx, path, "get_clients", ubus.Table{})
				if err != nil {
					c.Log.Debug("stations can't be listed", "object", path, "err", err)
					return
				}
				h.clients(strings.TrimPrefix(path, hostapd), t)
				poke()
			}()
		},
		Down: func(path string) {
			port := strings.TrimPrefix(path, hostapd)
			h.drop(func(e Evidence) bool { return e.Source == WiFi && e.Port == port })
			poke()
		},
	})
	if err != nil {
		return fmt.Errorf("subscribe to hostapd: %w", err)
	}
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
	defer cancel()
	leases.Close(end)
	stations.Close(end)
	return nil
}

// lease takes dnsmasq's word of a lease: mac, ip, name, interface.
func (h *heard) lease(device, method string, data ubus.Table) bool {
	mac, err := model.ParseMAC(data.Text("mac"))
	if on := data.Text("interface"); err != nil || on != "" && on != device {
		return false
	}
	switch method {
	case "dhcp.ack":
		addr, err := netip.ParseAddr(data.Text("ip"))
		if err != nil {
			return false
		}
		h.put(Evidence{MAC: mac, Addr: addr, HostName: model.CleanHostName(data.Text("name")), Source: DHCP})
	case "dhcp.release":
		h.drop(func(e Evidence) bool { return e.Source == DHCP && e.MAC == mac })
	default:
		return false
	}
	return true
}

// station takes hostapd's word of a station.
func (h *heard) station(port, method string, data ubus.Table) bool {
	mac, err := model.ParseMAC(data.Text("address"))
	if err != nil {
		return false
	}
	switch method {
	case "assoc", "sta-authorized":
		h.put(Evidence{MAC: mac, Port: port, Active: true, Source: WiFi})
	case "disassoc", "deauth":
		h.drop(func(e Evidence) bool { return e.Source == WiFi && e.MAC == mac && e.Port == port })
	default: // probe requests are of who only passes by
		return false
	}
	return true
}

func (h *heard) clients(port string, t ubus.Table) {
	for name := range t.Table("clients").All() {
		if mac, err := model.ParseMAC(name); err == nil {
			h.put(Evidence{MAC: mac, Port: port, Active: true, Source: WiFi})
		}
	}
}
