-- What songs sound like is described in another way: the sound is taken from vectors of the old one, their words stay
-- depends: 0300-songs

-- migrate: apply
-- Such a song is found by its words; one that is added again is heard again. The words are the first 256 of 384 floats.
UPDATE media.songs SET descriptor = NULL, vector = substring(vector FOR 1024) || decode(repeat('00', 512), 'hex')
WHERE descriptor IS NOT NULL AND embedding LIKE '%/1';
UPDATE media.songs SET embedding = regexp_replace(embedding, '/1$', '/2') WHERE embedding LIKE '%/1';

-- migrate: rollback
UPDATE media.songs SET descriptor = NULL, vector = substring(vector FOR 1024) || decode(repeat('00', 512), 'hex')
WHERE descriptor IS NOT NULL AND embedding LIKE '%/2';
UPDATE media.songs SET embedding = regexp_replace(embedding, '/2$', '/1') WHERE embedding LIKE '%/2';
