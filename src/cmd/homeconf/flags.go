package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// errHelp is what asking for help by a flag ends in.
var errHelp = errors.New("help requested")

// parseFlags sorts words into flags and what is no flag, in any order; after
// "--" nothing is a flag. Flags are written as package flag takes them: -x and
// --x, a value behind "=" or in the next word. kind says whether there is such
// a flag, and whether it is a switch. Errors show no value, for one may be secret.
// Package flag itself would add 25 KB to the binary.
func parseFlags(words []string, kind func(name string) (known, isSwitch bool)) (given map[string]string, places []string, err error) {
	given = map[string]string{}
	var after []string
	if i := slices.Index(words, "--"); i >= 0 {
		words, after = words[:i], words[i+1:]
	}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if len(word) < 2 || word[0] != '-' {
			places = append(places, word)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
		known, isSwitch := kind(name)
		switch {
		case !known && (name == "help" || name == "h"):
			return nil, nil, errHelp
		case !known:
			return nil, nil, fmt.Errorf("no flag --%.40s", name)
		case hasValue:
		case isSwitch:
			value = "true"
		case len(words) == 0:
			return nil, nil, fmt.Errorf("--%s needs an argument", name)
		default:
			value, words = words[0], words[1:]
		}
		given[name] = value
	}
	return given, append(places, after...), nil
}
