package sighting

import (
	"fmt"
	"strings"
	"unicode"

	"homeconf/src/model"
)

// guesses is what host names speak for. A pattern matches a whole word of the
// name; with a '*' at its end, a word's beginning. The first match counts, so the
// particular stands before the general.
var guesses = []struct {
	category model.Category
	patterns []string
}{
	{model.CategorySTB, []string{"stb", "stb*", "settop*", "decoder", "mag2*", "mag3*", "mag4*", "mag5*", "arris*", "vip4*", "vip5*", "entertain*", "mediareceiver"}},
	{model.CategoryRecorder, []string{"recorder", "pvr", "dvr", "tivo*", "bdr", "diga"}},
	{model.CategoryPlayer, []string{"chromecast*", "roku*", "appletv*", "firetv*", "firestick*", "shield", "kodi*", "libreelec*", "osmc*", "vero*", "aftt*", "aftm*"}},
	{model.CategoryTV, []string{"tv", "smarttv*", "bravia*", "lgwebostv*", "webostv*", "lgsmarttv*", "viera*", "aquos*", "regza*", "hisense*", "philipstv*", "androidtv*"}},
	{model.CategoryAudio, []string{"sonos*", "sonoszp", "bose*", "homepod*", "denon*", "marantz*", "heos*", "echo", "soundbar*", "musiccast*", "squeezebox*", "volumio*", "onkyo*"}},
	{model.CategoryGame, []string{"playstation*", "ps3*", "ps4*", "ps5*", "xbox*", "nintendo*", "steamdeck*"}},
	{model.CategoryCamera, []string{"camera*", "ipcam*", "ipc", "webcam*", "reolink*", "hikvision*", "dahua*", "foscam*", "doorbell*", "axis"}},
	{model.CategoryNAS, []string{"nas", "nas*", "synology*", "diskstation*", "rackstation*", "qnap*", "truenas*", "freenas*", "mycloud*", "wdmycloud*", "readynas*", "omv"}},
	{model.CategoryPrinter, []string{"printer*", "npi*", "brw*", "brn*", "epson*", "canon*", "officejet*", "laserjet*", "deskjet*", "envy", "kyocera*", "lexmark*"}},
	{model.CategoryPhone, []string{"sip", "sip*", "voip*", "snom*", "yealink*", "grandstream*", "gigaset*", "polycom*", "ata"}},
	{model.CategoryAccessPoint, []string{"ap", "accesspoint*", "uap*", "unifi*", "repeater*", "orbi*", "deco", "eap*"}},
	{model.CategorySwitch, []string{"switch", "gs1*", "sg1*", "usw*"}},
	{model.CategoryComputer, []string{"pc", "desktop*", "laptop*", "notebook*", "macbook*", "imac*", "macmini*", "thinkpad*", "workstation*"}},
}

// Guess reads a category out of a DHCP host name, with the reason in words that
// follow "a guess, as". The empty category is no guess.
func Guess(hostName string) (model.Category, string) {
	words := strings.FieldsFunc(strings.ToLower(hostName), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	// "Apple-TV", "Living-Room-Apple-TV" and "my-nas": words, and neighbours
	// taken together.
	for i := range words {
		if i+1 < len(words) {
			words = append(words, words[i]+words[i+1])
		}
		if i >= 16 {
			break
		}
	}
	for _, g := range guesses {
		for _, p := range g.patterns {
			for _, w := range words {
				prefix, open := strings.CutSuffix(p, "*")
				if w == p || open && strings.HasPrefix(w, prefix) {
					return g.category, fmt.Sprintf("its DHCP host name is %q", hostName)
				}
			}
		}
	}
	return model.CategoryUnknown, ""
}
