// SPDX-License-Identifier: GPL-2.0

// Tests the server at $HOST and $PORT as a client.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

const patience = 60 * time.Second

func connect(t *testing.T) *net.TCPConn {
	t.Helper()
	link, err := net.DialTimeout("tcp", os.Getenv("HOST")+":"+os.Getenv("PORT"), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { link.Close() })
	link.SetDeadline(time.Now().Add(patience))
	return link.(*net.TCPConn)
}

func echo(t *testing.T, link net.Conn, data []byte) {
	t.Helper()
	got := make([]byte, len(data))
	if _, err := link.Write(data); err != nil {
		t.Error(err)
	} else if _, err := io.ReadFull(link, got); err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, data) {
		t.Errorf("%q came back as %q", data, got)
	}
}

func ask(t *testing.T, link net.Conn, line, wanted string) {
	t.Helper()
	fmt.Fprintln(link, line)
	if got, err := bufio.NewReader(link).ReadString('\n'); err != nil || got != wanted+"\n" {
		t.Errorf("%q was answered by %q, %v", line, got, err)
	}
}

func TestLine(t *testing.T) {
	echo(t, connect(t), []byte("hello\n"))
}

func TestBytesOfAllValues(t *testing.T) {
	var all [257]byte
	for value := range all {
		all[value] = byte(value)
	}
	all[256] = '\n'
	echo(t, connect(t), all[:])
}

func TestRestBehindTheEnd(t *testing.T) {
	link := connect(t)
	fmt.Fprint(link, "no end of the line")
	link.CloseWrite()
	if got, err := io.ReadAll(link); err != nil || string(got) != "no end of the line" {
		t.Errorf("%q came back, %v", got, err)
	}
}

func TestStreamOfMegabytes(t *testing.T) {
	link := connect(t)
	data := make([]byte, 4000000)
	for at := range data {
		data[at] = byte(at * at >> 8)
	}
	go func() {
		link.Write(data)
		link.CloseWrite()
	}()
	if got, err := io.ReadAll(link); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}

func TestManyAtOnce(t *testing.T) {
	var clients sync.WaitGroup
	for client := 0; client < 100; client++ {
		link := connect(t)
		clients.Add(1)
		go func(client int) {
			defer clients.Done()
			for number := 0; number < 20; number++ {
				echo(t, link, []byte(fmt.Sprintf("%d of %d\n", number, client)))
			}
		}(client)
	}
	clients.Wait()
}

func TestPanicEndsOneConnectionOnly(t *testing.T) {
	other := connect(t)
	echo(t, other, []byte("before\n"))
	for count := 0; count < 20; count++ {
		link := connect(t)
		fmt.Fprintln(link, "panic")
		if got, err := io.ReadAll(link); err != nil || len(got) != 0 {
			t.Errorf("%q, %v", got, err)
		}
	}
	echo(t, other, []byte("after\n"))
}

func TestSleepersHoldNobodyUp(t *testing.T) {
	const sleepers, each = 50, 3 * time.Second
	begin := time.Now()
	var done sync.WaitGroup
	for count := 0; count < sleepers; count++ {
		link := connect(t)
		done.Add(1)
		go func() {
			defer done.Done()
			ask(t, link, fmt.Sprint("sleep ", each.Milliseconds()), "slept")
		}()
	}
	echo(t, connect(t), []byte("quick\n"))
	done.Wait()
	if took := time.Since(begin); took < each || took > sleepers*each/2 {
		t.Errorf("they slept %v", took)
	}
}

// A collection stops the world by signals to its threads.
func TestCollectionsUnderLoad(t *testing.T) {
	collector := connect(t)
	stop := make(chan bool)
	var busy sync.WaitGroup
	for client := 0; client < 8; client++ {
		link := connect(t)
		busy.Add(1)
		go func(client int) {
			defer busy.Done()
			for number := 0; ; number++ {
				select {
				case <-stop:
					return
				default:
					echo(t, link, []byte(fmt.Sprintf("%d of %d\n", number, client)))
				}
			}
		}(client)
	}
	for count := 0; count < 20; count++ {
		ask(t, collector, "collect", "collected")
	}
	close(stop)
	busy.Wait()
}
