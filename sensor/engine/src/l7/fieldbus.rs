//! Function codes of Modbus/TCP (MODBUS Messaging on TCP/IP 1.0b) and DNP3 (IEEE 1815).

use super::Reader;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub function: u8,
    /// An answer that refuses: a Modbus exception, a DNP3 answer with an error indication.
    pub is_exception: bool,
}

impl Message {
    /// Reads the message that a segment begins with.
    pub(crate) fn read(payload: &[u8], payload_bytes: u32, port: u16) -> Option<Self> {
        match port {
            502 => modbus(payload, payload_bytes),
            20_000 => dnp3(payload),
            _ => None,
        }
    }

    /// True where the function changes the device or its outputs.
    pub(crate) const fn is_write(self, port: u16) -> bool {
        match port {
            502 => matches!(self.function, 5 | 6 | 8 | 15 | 16 | 21 | 22 | 23 | 90),
            _ => matches!(self.function, 2..=6 | 13 | 14 | 16..=19 | 21 | 25..=30),
        }
    }
}

fn modbus(payload: &[u8], payload_bytes: u32) -> Option<Message> {
    let mut r = Reader(payload);
    r.u16()?;
    let protocol = r.u16()?;
    let length = u32::from(r.u16()?);
    r.u8()?;
    let function = r.u8()?;
    if protocol != 0 || !(2..=254).contains(&length) || length + 6 > payload_bytes {
        return None;
    }
    Some(Message {
        function: function & 0x7f,
        is_exception: function & 0x80 != 0,
    })
}

/// Link header, transport octet, application control, function; answers add indications.
fn dnp3(payload: &[u8]) -> Option<Message> {
    let mut r = Reader(payload);
    if r.take(2)? != [0x05, 0x64] {
        return None;
    }
    // Length, control, destination, source, checksum; then transport and application control.
    r.take(8)?;
    r.take(2)?;
    let function = r.u8()?;
    let is_answer = matches!(function, 129 | 130);
    // Function not supported, object unknown, parameter error.
    let is_exception = is_answer && r.u16()? & 0x0007 != 0;
    Some(Message {
        function,
        is_exception,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_requests_and_refusals() {
        let request = [0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 10];
        let read = |bytes: &[u8], port| Message::read(bytes, bytes.len() as u32, port);
        let message = read(&request, 502).unwrap();
        assert_eq!((message.function, message.is_exception), (3, false));
        let refusal = [0, 1, 0, 0, 0, 3, 1, 0x84, 2];
        assert!(read(&refusal, 502).unwrap().is_exception);
        for n in 0..request.len() {
            assert_eq!(read(&request[..n], 502), None, "{n}");
        }
        let dnp3 = [5, 0x64, 20, 0x44, 1, 0, 2, 0, 9, 9, 0xc0, 0xc0, 129, 0, 1];
        assert!(read(&dnp3, 20_000).unwrap().is_exception);
    }
}
