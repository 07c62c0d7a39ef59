package agent

import (
	"context"
	"time"

	"homeconf/src/model"
	"homeconf/src/wire"
)

const (
	// reportQuiet is how long changes are gathered, reportPause how long
	// passes between two reports of a device that flaps.
	reportQuiet = 20 * time.Millisecond
	reportPause = time.Second
)

// reports is what was said to the home.
type reports struct {
	seq   uint64
	last  *model.Report
	sent  time.Time
	timer *time.Timer
	busy  bool
	again bool
}

// deviceChanged is told that something may be otherwise.
func (a *Agent) deviceChanged() {
	if a.peer != nil {
		a.reportSoon()
	}
}

func (a *Agent) reportSoon() {
	r := &a.reports
	if r.timer != nil {
		return
	}
	wait := reportQuiet
	if left := reportPause - time.Since(r.sent); r.last != nil && r.seq > 1 && left > wait {
		wait = left
	}
	r.timer = a.after(wait, func() {
		r.timer = nil
		a.reportNow()
	})
}

// reportNow says what the device is like, unless that was said.
func (a *Agent) reportNow() {
	r := &a.reports
	if a.peer == nil {
		return
	}
	if r.busy {
		r.again = true
		return
	}
	r.busy = true
	peer := a.peer
	a.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, applyTime)
		defer cancel()
		rep, err := a.cfg.Device.Report(ctx)
		return func() {
			r.busy = false
			if err != nil {
				a.log.Error("the device can't be looked at", "err", err)
				if r.timer == nil {
					r.timer = a.after(reportPause, func() { r.timer = nil; a.reportNow() })
				}
				return
			}
			a.complete(&rep)
			if a.peer == peer && (r.last == nil || !model.Same(*r.last, rep)) {
				r.seq++
				r.last, r.sent = &rep, time.Now()
				a.send(wire.Report{Seq: r.seq, Full: true, Report: rep})
			}
			if r.again || a.peer != peer {
				r.again = false
				a.reportNow()
			}
		}
	})
}

// complete adds what the owner says of the product, and where the settings stand.
func (a *Agent) complete(rep *model.Report) {
	rep.Info = a.info()
	rep.Services = services(a.opts.Services)
	rep.State = a.change.state
	switch {
	case a.change.now != nil:
		rep.Generation = a.change.now.Want.Generation
	case a.keep.Good != nil:
		rep.Generation = a.keep.Good.Generation
	}
}

func (a *Agent) info() model.DeviceInfo {
	o := a.opts.Agent
	return model.DeviceInfo{DeviceCategory: o.Category, Manufacturer: o.Manufacturer, ManufacturerOUI: o.OUI, ModelName: o.Model,
		ModelNumber: o.ModelNumber, SerialNumber: o.Serial, SoftwareVersion: o.Firmware, FriendlyName: o.Name}
}
