package main

// What this template uses of Bellwether's contract (plugins/wit), by the
// component model's canonical ABI: a record is its fields in memory, a string or
// a list is an address and a length, a variant is a tag and what it holds.
//
// Addresses have 32 bits there and 64 in Go, and the garbage collector does not
// see them. So memory that the engine is told of is kept for good: an instance
// lives for one run and is then thrown away.

import "unsafe"

// kept is what the garbage collector must not take.
var kept []any

// realloc is where the engine asks for memory for arguments and answers.
//
//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if size == 0 {
		return unsafe.Pointer(uintptr(align)) // never read, but must not be nil
	}
	block := make([]uint64, (size+7)/8) // aligned to 8 bytes
	kept = append(kept, block)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&block[0])), size), unsafe.Slice((*byte)(old), oldSize))
	return unsafe.Pointer(&block[0])
}

//go:wasmimport bellwether:plugin/net@0.1.0 http
func netHTTP(request, answer unsafe.Pointer) // *httpRequest, *httpAnswer

// text is a string of the contract.
type text struct{ at, length uint32 }

func textOf(s string) text {
	l := listOf([]byte(s)...)
	return text{l.at, l.count}
}

func (t text) String() string { return string(list{t.at, t.length}.bytes()) }

// list is a list of the contract.
type list struct{ at, count uint32 }

func listOf[T any](items ...T) list {
	kept = append(kept, items)
	return list{uint32(uintptr(unsafe.Pointer(unsafe.SliceData(items)))), uint32(len(items))}
}

func (l list) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Add(nil, l.at)), l.count)
}

type metricSpec struct{ name, unit, description text }

type manifest struct {
	name, version, summary, configSchema text
	capabilities, metrics                list
}

type state uint8

const (
	ok state = iota
	warning
	critical
	unknown
)

type metric struct {
	name  text
	value float64
}

type report struct {
	state            state
	summary, details text
	metrics          list
}

// The two halves of result<report, probe-error>.
type goodCheck struct {
	isError uint8
	report  report
}

type badCheck struct {
	isError       uint8
	_             [3]byte
	tag           uint8
	first, second text
}

func reported(r report) unsafe.Pointer {
	result := &goodCheck{report: r}
	kept = append(kept, result)
	return unsafe.Pointer(result)
}

func failedWith(tag uint8, first, second string) unsafe.Pointer {
	result := &badCheck{isError: 1, tag: tag, first: textOf(first), second: textOf(second)}
	kept = append(kept, result)
	return unsafe.Pointer(result)
}

// configProblem names the wrong value by a JSON Pointer.
func configProblem(pointer, message string) unsafe.Pointer {
	return failedWith(0, pointer, message)
}
func denied(what string) unsafe.Pointer { return failedWith(1, what, "") }
func failed(why string) unsafe.Pointer  { return failedWith(2, why, "") }

type httpRequest struct {
	method, url            text
	headers, secretHeaders list
	hasBody                uint8
	body                   list
	maxRedirects, maxBody  uint32
	hasTLS                 uint8
	tls                    [6]uint32
}

type optionalMicros struct {
	known uint8
	value uint64
}

// httpResponse is the good half of an answer.
type httpResponse struct {
	status                           uint16
	version, url, peer               text
	headers, body                    list
	truncated                        bool
	resolve, connect, tls, firstByte optionalMicros
	total                            uint64
	hasCertificate                   uint8
	certificate                      [6]uint64
}

// httpAnswer is result<http-response, error> of net.http.
type httpAnswer struct {
	isError  uint8
	response httpResponse
}

// netError is the bad half, in the same place.
type netError struct {
	tag     netErrorTag
	payload uint64
}

func (a *httpAnswer) failure() *netError { return (*netError)(unsafe.Pointer(&a.response)) }

func (e *netError) text() string {
	return text{uint32(e.payload), uint32(e.payload >> 32)}.String()
}

func (e *netError) phase() string {
	return [...]string{"resolve", "connect", "tls-handshake", "send", "first-byte", "receive"}[uint8(e.payload)]
}

// netErrorTag is in the order of the contract.
type netErrorTag uint8

const (
	netDenied netErrorTag = iota
	netTimeout
	netResolve
	netRefused
	netUnreachable
	netClosed
	netTLS
	netProtocol
	netTooLarge
	netInvalid
)
