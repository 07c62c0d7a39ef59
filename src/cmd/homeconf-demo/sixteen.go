package main

import (
	"context"

	"homeconf/src/lab"
	"homeconf/src/lab/scene"
)

// sixteen is a home in which sixteen boxes come at once: a house after a power
// cut, or a hotel.
func (p *play) sixteen(ctx context.Context) error {
	p.say("Another home. Sixteen boxes are plugged in at the same time, and a person lets them all in at once.")
	l, err := lab.New("sixteen")
	if err != nil {
		return err
	}
	defer l.Close()
	r, err := scene.Many(ctx, l, p.binary, 16)
	if err != nil {
		return err
	}
	p.say("SIXTEEN BOXES AT ONCE, let in → configured and verified: the last one after %.0f ms, the median after %.0f ms", ms(r.Last), ms(r.Median))
	p.proven("ip addr at the boxes: 16 different addresses, %s to %s", r.Addresses[0], r.Addresses[len(r.Addresses)-1])
	p.proven("dnsmasq was restarted %d time(s), the database of the home has 16 devices", r.Restarts)
	return l.Close()
}
