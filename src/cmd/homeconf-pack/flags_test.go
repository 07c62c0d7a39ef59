package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The feed compiles as make build does: without its flags the binary is a tenth
// larger.
func TestFeedCompilesTheSame(t *testing.T) {
	read := func(path string) string {
		b, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	ours, feed := read("Makefile"), read("openwrt/homeconf/Makefile")
	for _, pair := range [][2]string{
		{`(?m)^INLINED +:= (.*)$`, `(?m)^HOMECONF_INLINED:=(.*)$`},
		{`(?m)^NOT_INLINED +:= (.*)$`, `(?m)^HOMECONF_NOT_INLINED:=(.*)$`},
		{`-ldflags '(.*) -X main.version=`, `(?m)^GO_PKG_LDFLAGS:=(.*)$`},
		{`(?m)export GOEXPERIMENT := (.*)$`, `GOEXPERIMENT=(.*)`},
		{`-gcflags=all=(\S+) `, `-gcflags=all=(\S+) `},
	} {
		a, b := regexp.MustCompile(pair[0]).FindStringSubmatch(ours), regexp.MustCompile(pair[1]).FindStringSubmatch(feed)
		if a == nil || b == nil || a[1] != b[1] {
			t.Errorf("make build has %q, the feed %q", a, b)
		}
	}
}
