package configurator

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"homeconf/src/calls"
	"homeconf/src/gateway"
	"homeconf/src/gateway/openwrt"
	"homeconf/src/model"
	"homeconf/src/ubus"
	"homeconf/src/uci"
)

// openBus connects to ubusd where there is one. Without it, on a plain Linux
// gateway, everything works by the kernel's events alone.
func (c *Configurator) openBus() {
	if c.cfg.RunDir != "" { // else nobody is to reach us
		c.bus = calls.DialBus(c.cfg.Bus, c.log)
	}
}

func (c *Configurator) closeBus() {
	if c.bus != nil {
		c.bus.Close()
	}
}

// serveBus publishes our object, until ctx ends.
func (c *Configurator) serveBus(ctx context.Context) error {
	if c.bus == nil {
		return nil
	}
	defer c.closeBus()
	calls.PublishBus(ctx, c.bus, calls.Object(calls.Configurator, c.Call), c.log, func(p *ubus.Published) {
		c.wg.Go(func() error { c.sendNotes(ctx, p); return nil })
	})
	return nil
}

// maxNotes is how many notifications may wait for an ubusd that takes none.
const maxNotes = 256

// sendNotes sends what notify has put aside: ubusd may be slow, the loop must not.
func (c *Configurator) sendNotes(ctx context.Context, p *ubus.Published) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-c.notes:
			data := new(ubus.Builder).String("device", string(e.Device)).String("kind", e.Kind).String("text", e.Text).Int64("time", e.Time.Unix()).Table()
			if err := p.Notify(ctx, notifications[e.Kind], data); err != nil && ctx.Err() == nil {
				c.log.Debug("notification was not sent", "kind", e.Kind, "err", err)
			}
		}
	}
}

// notifications are the kinds of events that are told on ubus, and under which
// name: noun and verb.
var notifications = map[string]string{
	"device.adopted":      "device.added",
	"device.seen":         "device.added",
	"device.chosen":       "device.changed",
	"device.configured":   "device.changed",
	"device.connected":    "device.changed",
	"device.disconnected": "device.changed",
	"device.planned":      "device.changed",
	"device.reported":     "device.changed",
	"device.undone":       "device.changed",
	"device.forgotten":    "device.removed",
	"device.retired":      "device.removed",
	"pairing.left":        "device.removed",
	"finding.raised":      "finding.raised",
	"finding.cleared":     "finding.cleared",
	"pairing.opened":      "pairing.opened",
	"pairing.waiting":     "pairing.waiting",
}

// notify tells who listens on ubus. It never waits.
func (c *Configurator) notify(e model.Event) {
	if c.bus == nil || notifications[e.Kind] == "" {
		return
	}
	select {
	case c.notes <- e:
	default:
		c.log.Debug("notification was dropped", "kind", e.Kind)
	}
}

// busSystem is what the gateway asks OpenWrt's daemons; nil without ubus.
func (c *Configurator) busSystem() gateway.System {
	if c.bus == nil {
		return nil
	}
	return openwrt.System{Bus: c.bus}
}

// reloader is who makes services reload: the owner's command, procd, or a
// supervisor that watches the folder by itself.
func (c *Configurator) reloader() gateway.Reloader {
	switch {
	case c.opts.Configurator.ReloadCommand != "":
		return gateway.CommandReloader{Path: c.opts.Configurator.ReloadCommand}
	case c.bus != nil:
		return openwrt.System{Bus: c.bus}
	}
	return gateway.Watched{}
}

// findInterface is the LAN's device: the owner's word, else netifd's, else what
// the configuration names.
func (c *Configurator) findInterface() string {
	o := c.opts.Configurator
	if c.cfg.Interface != "" || o.Interface != "" {
		return cmp.Or(c.cfg.Interface, o.Interface)
	}
	network := cmp.Or(o.LANNetwork, "lan")
	if c.bus != nil {
		list, err := openwrt.System{Bus: c.bus}.Interfaces(context.Background())
		if err != nil {
			c.log.Warn("netifd does not name the LAN's device", "err", err)
		}
		for _, i := range list {
			if i.Name == network && i.Device != "" {
				return i.Device
			}
		}
	}
	if f, err := (uci.Dir{Path: c.cfg.ConfigDir}).Load("network"); err == nil {
		if device := gateway.DeviceOf(f, network); device != "" {
			return device
		}
	}
	return "br-lan"
}

// metrics are numbers about the home and about this process, for a collector.
func (c *Configurator) metrics() calls.MetricsResult {
	m := calls.MetricsResult{
		"uptime_seconds":     int64(time.Since(c.since) / time.Second),
		"sessions":           int64(len(c.peers)),
		"findings":           int64(len(c.findings.all())),
		"pairing_open":       number(c.window != nil),
		"devices_configured": 0,
		"link_up":            number(c.linkUp),
		"passes_failed":      int64(c.work.fails),
		"reservations":       int64(len(c.plan.Gateway.Reservations)),
		"marks":              int64(len(c.plan.Gateway.Marks)),
		"igmp_proxy_running": number(c.net.Multicast.Running),
	}
	for _, s := range []model.DeviceState{model.DeviceSeen, model.DeviceWaiting, model.DeviceManaged, model.DeviceAdopted} {
		m["devices_"+metricName(string(s))] = 0
	}
	for _, r := range c.everybody() {
		m["devices_"+metricName(string(r.State))]++
		if c.progress(r) == "configured" {
			m["devices_configured"]++
		}
	}
	for reason, n := range c.count.Snapshot() {
		m["frames_"+metricName(reason)] = int64(n)
	}
	return m
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// metricName makes a name of the kind that collectors take.
func metricName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, s)
}

// sawNew tells of devices that were seen for the first time. Of many at once
// only that there are many: somebody may be making them up.
func (c *Configurator) sawNew(ids []model.DeviceID) {
	const few = 16
	now := time.Now()
	if len(ids) > few {
		c.notify(model.Event{Time: now, Kind: "device.seen", Text: fmt.Sprintf("%d new devices were seen.", len(ids))})
		return
	}
	for _, id := range ids {
		c.notify(model.Event{Time: now, Device: id, Kind: "device.seen", Text: "A new device was seen."})
	}
}

// noLongerSeen forgets a device without an agent, which has turned out to have
// one: it goes on under another id.
func (c *Configurator) noLongerSeen(mac model.MAC) {
	id := model.IDOfMAC(mac)
	if c.seen[id] != nil {
		delete(c.seen, id)
		c.notify(model.Event{Time: time.Now(), Device: id, Kind: "device.forgotten", Text: "This device has an agent, and goes by another id now."})
	}
}
