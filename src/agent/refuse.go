package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"homeconf/src/model"
	"homeconf/src/wire"
)

// refusal says why settings are not even tried, "" when they are.
func (a *Agent) refusal(s model.Settings) string {
	c := &a.change
	g := s.Generation
	if err := usable(s); err != nil {
		return shortened(err)
	}
	for _, known := range []*model.Settings{a.keep.Good, c.wanted(), settingsOf(c.doing), settingsOf(c.next)} {
		switch {
		case known == nil || g > known.Generation:
		case g == known.Generation && !known.Same(s):
			return fmt.Sprintf("generation %d was asked for with other settings", g)
		case g < known.Generation:
			return fmt.Sprintf("generation %d is older than %d", g, known.Generation)
		}
	}
	return ""
}

// usable refuses what could never work, so that it is not even tried.
func usable(s model.Settings) error {
	if s.Generation == 0 {
		return errors.New("settings without a generation")
	}
	switch s.AddressingType {
	case model.AddressingDHCP:
		return nil
	case model.AddressingStatic:
	default:
		return fmt.Errorf("addressing type %q can't be set", s.AddressingType)
	}
	a, p := s.Address.Addr(), s.Address.Masked()
	switch {
	case !s.Address.IsValid() || !a.Is4() || s.Address.Bits() == 0:
		return fmt.Errorf("address %v is no IPv4 address and prefix length", s.Address)
	case s.Address.Bits() < 31 && (a == p.Addr() || !s.Address.Contains(a.Next())):
		return fmt.Errorf("address %v is no host's: it is its network's first or last", s.Address)
	case s.Gateway.IsValid() && !s.Address.Contains(s.Gateway):
		return fmt.Errorf("gateway %v is not in the network of %v", s.Gateway, s.Address)
	case s.Gateway == a:
		return fmt.Errorf("gateway %v is the device itself", s.Gateway)
	}
	return nil
}

// shortened is an error's text as an Outcome can carry it: MaxText bytes of
// UTF-8 on one line.
func shortened(err error) string {
	if err == nil {
		return ""
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("not done in time: %w", err)
	}
	s := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, err.Error())
	if len(s) <= wire.MaxText {
		return s
	}
	end := wire.MaxText
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
