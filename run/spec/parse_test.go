package spec

import (
	"errors"
	"strings"
	"testing"
)

func TestParseBytes(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "42": 42, "42b": 42, "42B": 42, "1k": 1 << 10, "512k": 512 << 10, "100m": 100 << 20, "1g": 1 << 30,
		"1G": 1 << 30, "1gb": 1 << 30, "1GiB": 1 << 30, "1 g": 1 << 30, "2t": 2 << 40, "1p": 1 << 50,
		"1.5g": 3 << 29, ".5k": 512, "1.k": 1024, "0.3k": 307, "1.9": 1, "0.1g": 107374182, "0.999999999999999999b": 0,
		"8191p": 8191 << 50, "9223372036854775807": 1<<63 - 1, "007": 7,
	} {
		if got, err := ParseBytes(s); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", " ", ".", "b", "g", "-1", "-1g", "+1", " 1", "1 ", "1  g", "1e3", "0x10", "1_000", "1,5g", "1.5.1g", "1e", "1x", "1kk", "1bb",
		"1ib", "1gib2", "nan", "inf", "8192p", "9223372036854775808", "18446744073709551616", "99999999999999999999g", "16384p",
		"1.0000000000000000001g", "١g", "1g\x00",
	} {
		got, err := ParseBytes(s)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "as in 512m or 1.5g") {
			t.Errorf("ParseBytes(%q) = %d, %v; want an error with the accepted form", s, got, err)
		}
	}
}

func TestParseSwap(t *testing.T) {
	for s, want := range map[string]int64{"-1": -1, "1g": 1 << 30, "0": 0} {
		if got, err := ParseSwap(s); err != nil || got != want {
			t.Errorf("ParseSwap(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	if _, err := ParseSwap("-2"); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "-1 for no limit") {
		t.Errorf("ParseSwap(-2): %v", err)
	}
}

func TestParseCPUs(t *testing.T) {
	for s, want := range map[string]int64{"1.5": 150000, "2": 200000, "0.01": 1000, ".5": 50000, "0.015": 1500, "0.29": 29000, "8192": 819200000} {
		if got, period, err := ParseCPUs(s); err != nil || got != want || period != 100000 {
			t.Errorf("ParseCPUs(%q) = %d/%d, %v; want %d", s, got, period, err, want)
		}
	}
	for _, s := range []string{"", "0", "0.001", "0.0099", "-1", "1e1", "nan", "1/2", "1m", "1.5.", "175921861", "99999999999999999999"} {
		if got, _, err := ParseCPUs(s); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "from 0.01") {
			t.Errorf("ParseCPUs(%q) = %d, %v; want an error with the accepted form", s, got, err)
		}
	}
}

func TestParseRates(t *testing.T) {
	type parser = func(string) (string, uint64, error)
	for _, tt := range []struct {
		parse  parser
		in     string
		device string
		rate   uint64
	}{
		{ParseRate, "/dev/sda:10mb", "/dev/sda", 10 << 20},
		{ParseRate, "/dev/disk/by-path/pci-0000:00:1f.2:1k", "/dev/disk/by-path/pci-0000:00:1f.2", 1 << 10},
		{ParseIOPS, "/dev/sda:1000", "/dev/sda", 1000},
		{ParseRate, "/dev/sda", "", 0},
		{ParseRate, "/dev/sda:", "", 0},
		{ParseRate, "/dev/sda:0", "", 0},
		{ParseRate, "/dev/sda:-1", "", 0},
		{ParseRate, "sda:1m", "", 0},
		{ParseRate, ":1m", "", 0},
		{ParseRate, "", "", 0},
		{ParseIOPS, "/dev/sda:10m", "", 0},
		{ParseIOPS, "/dev/sda:1.5", "", 0},
		{ParseIOPS, "/dev/sda:+1", "", 0},
		{ParseIOPS, "/dev/sda:0", "", 0},
		{ParseIOPS, "/dev/sda:18446744073709551616", "", 0},
	} {
		device, rate, err := tt.parse(tt.in)
		if device != tt.device || rate != tt.rate || (err == nil) != (tt.device != "") {
			t.Errorf("%q: got %q, %d, %v; want %q, %d", tt.in, device, rate, err, tt.device, tt.rate)
		}
		if err != nil && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "as in /dev/sda:10")) {
			t.Errorf("%q: %v, want the accepted form", tt.in, err)
		}
	}
}

func TestParseSet(t *testing.T) {
	for s, want := range map[string]bool{
		"0": true, "0-3": true, "0-3,8": true, "1,1": true, "3-3": true,
		"": false, ",": false, "0,": false, "3-1": false, "-1": false, "0-": false, "0-1-2": false, "0 1": false, "0\n": false, "a": false,
	} {
		if parseSet(s) != want {
			t.Errorf("parseSet(%q) = %v", s, !want)
		}
	}
}
