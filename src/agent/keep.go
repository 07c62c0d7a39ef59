package agent

import (
	"bytes"
	"errors"
	"io/fs"

	"homeconf/src/session"
	"homeconf/src/system"
	"homeconf/src/wire"
)

// What an agent keeps for its home: its own record, sealed, which it can't read;
// the highest term that it has heard; and the home's key, which the home may
// change.

// keepFor takes a Keep: the home says its term, and asks for the record or hands
// over a newer one.
func (a *Agent) keepFor(m wire.Keep) {
	if a.keep.Pin == nil {
		return
	}
	switch {
	case m.Term > a.keep.Pin.Term:
		k, pin := a.keep, *a.keep.Pin
		pin.Term = m.Term
		k.Pin = &pin
		if err := store(a.files.state(), k); err != nil {
			a.note("the home's term can't be stored: " + err.Error())
			return
		}
		a.keep = k
	case m.Term < a.keep.Pin.Term:
		a.log.Warn("a home of an older term speaks; nothing is done for it", "term", m.Term, "known", a.keep.Pin.Term)
	}
	a.outdated = m.Term < a.keep.Pin.Term
	b, err := system.ReadFile(a.files.sealed(), wire.MaxSealed)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, system.ErrUnusable):
		b = nil
		if err := system.SetAside(a.files.sealed()); err != nil {
			a.log.Error("what is in the sealed record's place can't be set aside", "err", err)
		}
	case err != nil:
		b = nil
		a.log.Error("the sealed record can't be read", "err", err)
	}
	switch {
	case m.Sealed == nil:
		a.send(wire.Kept{Term: a.keep.Pin.Term, Sealed: b})
	case a.outdated || bytes.Equal(b, m.Sealed):
	default:
		a.cfg.Step("keep.begin")
		if err := system.WriteFile(a.files.sealed(), m.Sealed, 0o600); err != nil {
			a.note("the home's record of this device can't be stored: " + err.Error())
			return
		}
		a.cfg.Step("keep.stored")
	}
}

// rotate takes the home's new key in the place of the old one, on disk before
// anything is said.
func (a *Agent) rotate(m wire.Rotate) {
	if a.keep.Pin == nil {
		return
	}
	old, err := a.keep.pin()
	if err != nil {
		a.note("the home's key can't be read: " + err.Error())
		return
	}
	pin := *old
	pin.Home, pin.Discovery = session.PublicKey(m.Home), m.Discovery
	if pin != *old {
		a.cfg.Step("rotate.begin")
		k := a.keep
		k.Pin = filed(pin)
		if err := store(a.files.state(), k); err != nil {
			a.note("the home's new key can't be stored: " + err.Error())
			return
		}
		a.keep = k
		a.cfg.Step("rotate.stored")
		a.log.Info("home has a new key", "home", pin.Home.Fingerprint())
	}
	a.speak.who().Repin(pin)
	a.send(wire.Rotated{Home: m.Home})
	a.cfg.Step("rotate.sent")
}
