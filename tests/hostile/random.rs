//! Numbers that look random and follow from a seed: the same case is the same input everywhere.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    /// The numbers of one case.
    pub fn of(reader: &str, seed: u64, case: u64) -> Self {
        let name = reader.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
        let mut random = Self(name ^ seed.rotate_left(32));
        let stream = random.next();
        Self(stream ^ case.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    /// A number below `end`, or 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }

    /// Whether one of `of` chances falls.
    pub fn one_of(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// One of these; there must be one.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len())]
    }

    /// A number that is often small: each is half as likely as the one before.
    pub fn few(&mut self, most: usize) -> usize {
        (self.next().trailing_ones() as usize + 1).min(most)
    }

    /// A number at which readers go wrong.
    pub fn edge(&mut self) -> u64 {
        const EDGES: [u64; 20] = [
            0,
            1,
            2,
            7,
            8,
            0x7f,
            0x80,
            0xff,
            0x100,
            0x7fff,
            0xffff,
            0x1_0000,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x1_0000_0000,
            1 << 40,
            i64::MAX as u64,
            1 << 63,
            u64::MAX,
        ];
        match self.below(4) {
            0 => self.next() >> self.below(64),
            1 => self.pick(&EDGES).wrapping_add(self.below(5) as u64).wrapping_sub(2),
            _ => *self.pick(&EDGES),
        }
    }
}
